# Completion of slipway for PowerShell.
# Here:   slipway completion powershell | Out-String | Invoke-Expression
# Always: the same line in $PROFILE

Register-ArgumentCompleter -Native -CommandName 'slipway' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    # Whole words before the cursor; the one it is in comes last.
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition -or ($_.Extent.EndOffset -eq $cursorPosition -and $wordToComplete -eq '') } |
        ForEach-Object { $_.Extent.Text -replace '[''"`]', '' })
    $current = $wordToComplete -replace '[''"`]', ''
    # Old versions hand over no empty word.
    $lines = if ($current -eq '') { & slipway __complete --new -- @words 2>$null } else { & slipway __complete -- @words $current 2>$null }
    $directive = 4
    $found = $false
    foreach ($line in $lines) {
        if ($line.StartsWith(':')) {
            $directive = [int]$line.Substring(1)
            continue
        }
        $text, $about = $line -split "`t", 2
        if (-not $about) { $about = $text }
        $found = $true
        [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $about)
    }
    # Where nothing is offered PowerShell offers files, which is right where files are taken.
    if (-not $found -and ($directive -band 4)) { '' }
}
