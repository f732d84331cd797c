# SPDX-License-Identifier: GPL-3.0-or-later
# Bash completion of saescope: the program itself knows what may come next.
_saescope()
{
    local words=() word line start=1 IFS=$'\n'
    # Bash splits words at ':' and '='; put them together again.
    for ((; start <= COMP_CWORD; start++)); do
        word=${COMP_WORDS[start]}
        if ((${#words[@]} > 0)) && [[ $word == [=:]* || ${words[-1]} == *[=:] ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    ((${#words[@]} > 0)) || words=('')
    [[ ${words[-1]} == [\"\']* ]] && words[-1]=${words[-1]:1}
    [[ ${words[-1]} == \~/* ]] && words[-1]=$HOME/${words[-1]:2}

    # What bash itself takes for the word under the cursor ends the same way.
    local current=${COMP_WORDS[COMP_CWORD]} whole=${words[-1]} cut=0
    [[ $current == [=:] ]] && current=
    if [[ $whole == *[=:]* && ${#whole} -gt ${#current} ]]; then
        cut=$((${#whole} - ${#current}))
    fi
    COMPREPLY=()
    while read -r line; do
        [[ $line ]] || continue
        if [[ $line == *' ' ]]; then
            printf -v word '%q ' "${line:cut:${#line}-cut-1}"
        else
            printf -v word '%q' "${line:cut}"
        fi
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" complete -- "${words[@]}" 2>/dev/null)
    compopt -o nospace 2>/dev/null
}
complete -F _saescope saescope
