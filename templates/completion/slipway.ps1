# Completion of slipway for PowerShell.
# In this shell: slipway completion powershell | Out-String | Invoke-Expression
# Permanently:   the same line in $PROFILE

Register-ArgumentCompleter -Native -CommandName 'slipway' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    # The complete words before the cursor; the word at the cursor is added below.
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition -or ($_.Extent.EndOffset -eq $cursorPosition -and $wordToComplete -eq '') } |
        ForEach-Object { $_.Extent.Text -replace '[''"`]', '' })
    $current = $wordToComplete -replace '[''"`]', ''
    # Old versions of PowerShell do not pass empty arguments.
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
    # Without candidates PowerShell offers files. An empty candidate prevents that where no file is expected.
    if (-not $found -and ($directive -band 4)) { '' }
}
