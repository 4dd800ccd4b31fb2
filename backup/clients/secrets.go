package clients

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Secrets are files that one program reads and nobody else can: on Linux they have no name in any directory, so that
// none is left behind, whatever ends us; elsewhere they are of mode 0600 in a directory of mode 0700.
type Secrets struct {
	cmd     *exec.Cmd
	files   []*os.File
	cleanup []func() error
}

// NewSecrets makes files for a program that was not started yet. Close follows its end.
func NewSecrets(cmd *exec.Cmd) *Secrets { return &Secrets{cmd: cmd} }

// Variable sets a variable of the program's environment.
func (s *Secrets) Variable(name, value string) { s.cmd.Env = append(s.cmd.Env, name+"="+value) }

// File sets a variable to the path of a file with the content.
func (s *Secrets) File(variable, content string) error {
	f, remove, err := secretFile()
	if err != nil {
		return fmt.Errorf("make a file for a secret: %w", err)
	}
	s.files, s.cleanup = append(s.files, f), append(s.cleanup, remove)
	if _, err := f.WriteString(content); err != nil {
		return fmt.Errorf("write a file for a secret: %w", err)
	}
	path := f.Name()
	if inherited {
		path = fmt.Sprintf("/proc/self/fd/%d", 3+len(s.cmd.ExtraFiles))
		s.cmd.ExtraFiles = append(s.cmd.ExtraFiles, f)
	}
	s.Variable(variable, path)
	return nil
}

// Close removes the files.
func (s *Secrets) Close() error {
	var errs []error
	for i, f := range s.files {
		errs = append(errs, f.Close(), s.cleanup[i]())
	}
	return errors.Join(errs...)
}
