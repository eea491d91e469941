# --help, the man page and the completions agree: what --help lists is in all of them.
# shellcheck shell=bash disable=SC2034,SC2154,SC1091

manual=../docs/internvl.1
. ../cli/completion/internvl.bash
zsh=../cli/completion/_internvl

# options_of [COMMAND]: the long options that --help lists, without dashes.
options_of() { "$internvl" "$@" --help | sed -n 's/^  \(-., \|    \)--\([a-z0-9-]*\).*/\2/p'; }

# completed WORD...: what bash offers for the last word.
completed() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _internvl
    printf '%s\n' "${COMPREPLY[@]}"
}

# in_zsh COMMAND OPTION: in the lines of the command or in the arrays they use.
in_zsh() {
    grep -qE -e "^  ('|\"|\(|\*).*--$2([\[},'])" "$zsh" ||
        sed -n "/^      \([a-z|]*|\)\{0,1\}$1\(|[a-z|]*\)\{0,1\})/,/;;/p" "$zsh" | grep -qE -e "--$2([\[},'])"
}

last='internvl --help'
commands=$("$internvl" --help | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p')
expect_that 'no command is listed' [ -n "$commands" ]
globals=$(options_of)
for option in $globals; do
    expect_that "--$option is not in the man page" grep -qE -e "Fl -$option( |\$)" "$manual"
    expect_that "bash does not complete --$option" grep -qx -e "--$option" <(completed internvl --)
    expect_that "zsh does not know --$option" in_zsh devices "$option"
done
for command in $commands; do
    last="internvl $command --help"
    expect_that "bash does not complete the command" grep -qx "$command" <(completed internvl '')
    expect_that "the command is not in the man page" grep -qE -e "^\\.It Cm $command " "$manual"
    expect_that "zsh does not know the command" grep -q -e "^  '$command:" "$zsh"
    for option in $(options_of "$command") $globals; do
        expect_that "--$option is not in the man page" grep -qE -e "Fl -$option( |\$)" "$manual"
        expect_that "bash does not complete --$option" grep -qx -e "--$option" <(completed internvl "$command" --)
        expect_that "zsh does not know --$option" in_zsh "$command" "$option"
    done
done

# Values that are one of a few.
last='completion of values'
expect_that 'bash does not complete --residency' \
    [ "$(completed internvl --residency '' | tr '\n' ' ')" = 'auto mapped resident stream ' ]
expect_that 'bash does not complete a beginning' [ "$(completed internvl embed --resize crop-)" = 'crop-floor' ]
expect_that 'architectures are others than the program knows' \
    [ "$(completed internvl synth '' | tr '\n' ' ')" = \
    "$("$internvl" info --arch '?' 2>&1 | sed 's/.*known are //; s/,//g; s/$/ /')" ]

# A man page that groff takes without a complaint.
if command -v groff >/dev/null && [ -n "$(find /usr/share/groff -name doc.tmac 2>/dev/null)" ]; then
    last='groff -mdoc'
    groff -mdoc -Tascii -P-cbou -ww "$manual" >"$out" 2>"$err"
    expect_no_stderr
    expect_stdout 'GLOBAL OPTIONS'
fi
