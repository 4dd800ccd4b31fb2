package source

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statVolume asks the kernel about the file system that holds path. It may never return.
func statVolume(path string) (volumeStat, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return volumeStat{}, fmt.Errorf("statfs: %w", err)
	}
	// The counts are in fragments; FUSE and some network file systems have blocks of another size.
	unit := uint64(fs.Frsize)
	if unit == 0 {
		unit = uint64(fs.Bsize)
	}
	s := volumeStat{
		size:       fs.Blocks * unit,
		free:       fs.Bfree * unit,
		available:  fs.Bavail * unit,
		inodes:     fs.Files,
		inodesFree: fs.Ffree,
		readOnly:   fs.Flags&unix.ST_RDONLY != 0,
	}
	// Without the mount table the sizes are still right.
	if m, err := mountOf(path); err == nil {
		s.device, s.fstype, s.mountpoint = m.device, m.fstype, m.point
		s.readOnly = m.readOnly()
	}
	return s, nil
}

type mount struct {
	id                    uint64
	point, fstype, device string
	superOptions          []string
}

// readOnly looks at the file system itself, not at the mount: a container or a unit of systemd has the volume mounted
// read-only for the exporter alone, and statfs(2) says so. After an error ext4 refuses all writes but since Linux 6.15
// tells so only here: statfs(2) and the mount's own options go on saying read-write.
func (m mount) readOnly() bool {
	for _, o := range []string{"ro", "emergency_ro", "shutdown"} {
		if slices.Contains(m.superOptions, o) {
			return true
		}
	}
	return false
}

// mountOf finds the mount that holds path, by the kernel's own id for it: by the path's text a symbolic link or a mount
// over a mount would mislead.
func mountOf(path string) (mount, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return mount{}, fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return mount{}, err
	}
	_, text, _ := strings.Cut(string(info), "mnt_id:")
	text, _, _ = strings.Cut(text, "\n")
	id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return mount{}, fmt.Errorf("the kernel does not tell the mount of %s: %w", path, err)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mount{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 4096), 1<<20) // overlay mounts list many directories
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok && m.id == id {
			return m, nil
		}
	}
	if err := lines.Err(); err != nil {
		return mount{}, fmt.Errorf("read the mount table: %w", err)
	}
	return mount{}, fmt.Errorf("mount %d of %s is not in the mount table", id, path)
}

// parseMount reads one line of proc_pid_mountinfo(5):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (mount, bool) {
	left, right, found := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !found || len(l) < 6 || len(r) < 2 {
		return mount{}, false
	}
	id, err := strconv.ParseUint(l[0], 10, 64)
	if err != nil {
		return mount{}, false
	}
	m := mount{id: id, point: unescapeMount(l[4]), fstype: r[0], device: unescapeMount(r[1])}
	if len(r) > 2 {
		m.superOptions = strings.Split(r[2], ",")
	}
	return m, true
}

// unescapeMount turns the kernel's octal escapes of blanks and backslashes back.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
