# shellcheck shell=bash
# Finds out how this Debian computer downloads packages, to build roots of Debian's suites. For sourcing, not for
# running.

# Prints every apt source of this computer as deb822 stanzas, whatever its format.
machine_sources() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $file ]] || continue
    awk '
      $1 == "deb" {
        sub(/#.*/, "")
        options = ""
        if (match($0, /\[[^]]*\]/)) {
          options = substr($0, RSTART + 1, RLENGTH - 2)
          $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
        }
        printf "\nTypes: deb\nURIs: %s\nSuites: %s\nComponents:", $2, $3
        for (i = 4; i <= NF; i++) printf " %s", $i
        print ""
        count = split(options, option, " ")
        for (i = 1; i <= count; i++) {
          separator = index(option[i], "=")
          key = substr(option[i], 1, separator - 1)
          value = substr(option[i], separator + 1)
          gsub(/,/, " ", value)
          if (key == "signed-by") print "Signed-By: " value
          if (key == "arch") print "Architectures: " value
          if (key == "trusted") print "Trusted: " value
          if (key == "check-valid-until") print "Check-Valid-Until: " value
        }
      }' "$file"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ -f $file ]] || continue
    echo
    grep -v '^#' "$file"
  done
}

# suite_sources OWN SUITE: prints the Debian stanzas of this computer (component main of its OWN suite, its updates and
# its security) for another SUITE. Third-party archives have other names for suites or components, and are left out.
suite_sources() {
  machine_sources | awk -v own="$1" -v suite="$2" '
    BEGIN { RS = ""; FS = "\n" }
    {
      suites = ""; body = ""; field = ""; enabled = 1; binary = 0; main = 0
      for (i = 1; i <= NF; i++) {
        continued = $i ~ /^[ \t]/
        if (!continued) { field = tolower($i); sub(/:.*/, "", field) }
        value = $i
        if (!continued) sub(/^[^:]*:/, "", value)
        count = split(value, word, /[ \t]+/)
        for (j = 1; j <= count; j++) {
          if (field == "enabled" && word[j] ~ /^(no|false|0|off)$/) enabled = 0
          if (field == "types" && word[j] == "deb") binary = 1
          if (field == "components" && word[j] == "main") main = 1
          if (field == "suites" && (word[j] == own || word[j] == own "-updates" || word[j] == own "-security"))
            suites = suites " " suite substr(word[j], length(own) + 1)
        }
        if (field != "types" && field != "suites" && field != "enabled") body = body $i "\n"
      }
      stanza = "Types: deb\nSuites:" suites "\n" body
      if (enabled && binary && main && suites != "" && !seen[stanza]++) print stanza
    }'
}

# Prints apt's settings for downloads on this computer: validity checks, proxies, retries. Its other settings are left
# out.
acquire_settings() {
  apt-config dump --no-empty --format '%f "%v";%n' |
    grep -E '^Acquire::(Check-Valid-Until|Check-Date|Max-FutureTime|Min-ValidTime|Max-ValidTime|Languages|Retries|ForceIPv4|ForceIPv6|https?)\b' ||
    true
  local scheme variable
  for scheme in http https; do
    variable=${scheme}_proxy
    [[ -n ${!variable-} ]] && printf 'Acquire::%s::Proxy "%s";\n' "$scheme" "${!variable}"
  done
  return 0
}
