/* SPDX-License-Identifier: MIT */
/*
 * morsel completion: the scripts know nothing of verbs and options. They hand the words so far to
 * "morsel completion words -- WORD..." and pass on what it prints (complete.c), so that they fit
 * every version of the program.
 */
#include "cli/cli.h"

#include <string.h>

/* bash splits words at ":" and "=", which references and options are full of: the words are put
 * together again where no space was between the pieces, and of the answers only what follows the
 * last such sign is handed back. */
static const char bash_script[] =
	"# bash completion for morsel; \"morsel completion bash\" prints it\n"
	"_morsel()\n"
	"{\n"
	"\tlocal i lead piece rest=${COMP_LINE:0:COMP_POINT} line cut; local -a words=()\n"
	"\tfor ((i = 0; i <= COMP_CWORD; i++)); do\n"
	"\t\tlead=${rest%%[![:space:]]*} rest=${rest#\"${rest%%[![:space:]]*}\"}\n"
	"\t\tpiece=${COMP_WORDS[i]}\n"
	"\t\t((i < COMP_CWORD)) || piece=$rest\n"
	"\t\trest=${rest#\"$piece\"} piece=${piece//[\\\\\\\"\\']/}\n"
	"\t\tif ((i == 0)) || [[ -n $lead ]]; then words+=(\"$piece\"); "
	"else words[${#words[@]} - 1]+=$piece; fi\n"
	"\tdone\n"
	"\tcut=${words[${#words[@]} - 1]} cut=${cut%\"${cut##*[:=]}\"}\n"
	"\twhile IFS= read -r line; do\n"
	"\t\tcase $line in\n"
	"\t\t:files) compopt -o default ;;\n"
	"\t\t:dirs) compopt -o dirnames ;;\n"
	"\t\t:nospace) compopt -o nospace ;;\n"
	"\t\t*) line=${line%%$'\\t'*} line=${line#\"$cut\"}; printf -v line %q \"$line\"\n"
	"\t\t\tCOMPREPLY+=(\"$line\") ;;\n"
	"\t\tesac\n"
	"\tdone < <(\"${words[0]}\" completion words -- \"${words[@]:1}\" 2>/dev/null)\n"
	"}\n"
	"complete -F _morsel morsel\n";

static const char zsh_script[] =
	"#compdef morsel\n"
	"# zsh completion for morsel; \"morsel completion zsh\" prints it\n"
	"_morsel()\n"
	"{\n"
	"\tlocal line; local -a names shown space given\n"
	"\tgiven=(\"${(@Q)words[2,CURRENT-1]}\" \"${(Q)PREFIX}\")\n"
	"\tfor line in \"${(@f)$(\"${(Q)words[1]}\" completion words -- \"${given[@]}\" "
	"2>/dev/null)}\"; do\n"
	"\t\tcase $line in\n"
	"\t\t'') ;;\n"
	"\t\t:files) _files ;;\n"
	"\t\t:dirs) _files -/ ;;\n"
	"\t\t:nospace) space=(-S '') ;;\n"
	"\t\t*) names+=(\"${line%%$'\\t'*}\") shown+=(\"${line/$'\\t'/  }\") ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\t(( $#names )) && compadd \"${space[@]}\" -l -d shown -a names\n"
	"}\n"
	"if [ \"$funcstack[1]\" = _morsel ]; then _morsel \"$@\"; else compdef _morsel morsel; "
	"fi\n";

static const char fish_script[] =
	"# fish completion for morsel; \"morsel completion fish\" prints it\n"
	"function __morsel_complete\n"
	"\tset -l words (commandline -opc) (commandline -ct)\n"
	"\tfor line in (command $words[1] completion words -- $words[2..-1] 2>/dev/null)\n"
	"\t\tswitch $line\n"
	"\t\t\tcase :files\n"
	"\t\t\t\t__fish_complete_path (commandline -ct)\n"
	"\t\t\tcase :dirs\n"
	"\t\t\t\t__fish_complete_directories (commandline -ct)\n"
	"\t\t\tcase :nospace\n"
	"\t\t\tcase '*'\n"
	"\t\t\t\techo $line\n"
	"\t\tend\n"
	"\tend\n"
	"end\n"
	"complete -c morsel -f -a '(__morsel_complete)'\n";

int cmd_completion(struct cli *c)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};

	if (!strcmp(c->args[0], "words") && c->n_args > 1) {
		complete_words(c, c->args + 1, c->n_args - 1);
		return output_finish();
	}
	for (size_t i = 0; c->n_args == 1 && i < sizeof(scripts) / sizeof(scripts[0]); i++)
		if (!strcmp(c->args[0], scripts[i].shell)) {
			fputs(scripts[i].script, stdout);
			return output_finish();
		}
	return usage_error(c, "usage: morsel completion %s", c->verb->usage);
}
