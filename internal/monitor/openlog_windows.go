package monitor

import (
	"os"

	"golang.org/x/sys/windows"
)

// mayNotRead is what helps a user who may not read the log.
const mayNotRead = "Start the screen as administrator, or let this user read the folder"

// openLog opens a log that may be renamed and deleted meanwhile: os.Open would forbid that, and so its rotation.
func openLog(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(name, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
