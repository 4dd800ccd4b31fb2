# The program itself knows its commands and flags.
complete --command PROGRAM --no-files --arguments '(PROGRAM --completion-bash (commandline --tokenize --cut-at-cursor --current-process)[2..] (commandline --current-token --cut-at-cursor))'
complete --command PROGRAM --condition 'not string match -q -- "-*" (commandline --current-token)' --force-files
