package source

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func TestVolumeReadOnly(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	mountOrSkip(t, "tmpfs", dir, "tmpfs", "size=1m,nr_inodes=10")
	v := newVolumes(t, "data="+dir)

	got, err := collected(t, v)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{
		"pg_reliability_volume_size_bytes{data}":                   1 << 20,
		"pg_reliability_volume_inodes{data}":                       10,
		"pg_reliability_volume_inodes_free{data}":                  9,
		"pg_reliability_volume_read_only{data}":                    0,
		"pg_reliability_volume_info{data,tmpfs,tmpfs," + dir + "}": 1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
	// As in a container that has the volume read-only, while the server writes to it.
	ours := t.TempDir()
	if err := unix.Mount(dir, ours, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(ours, unix.MNT_DETACH) })
	if err := unix.Mount("", ours, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ours, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Fatalf("written to a read-only mount: %v", err)
	}
	if got, err := collected(t, newVolumes(t, "data="+ours)); err != nil || got["pg_reliability_volume_read_only{data}"] != 0 {
		t.Errorf("read-only for the exporter alone: read_only is %v (%v), want 0", got["pg_reliability_volume_read_only{data}"], err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m,nr_inodes=10"); err != nil {
		t.Fatal(err)
	}
	got, err = collected(t, v)
	if err != nil || got["pg_reliability_volume_read_only{data}"] != 1 {
		t.Errorf("after remount,ro read_only is %v (%v), want 1", got["pg_reliability_volume_read_only{data}"], err)
	}
}

// An error in the file system is what makes a database's disk read-only at three in the morning.
func TestVolumeReadOnlyAfterFileSystemError(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	device := runOrSkip(t, "sh", "-c", fmt.Sprintf("truncate -s 8M %[1]s && mkfs.ext4 -q %[1]s && losetup -f --show %[1]s", image))
	t.Cleanup(func() { runOrSkip(t, "losetup", "-d", device) })
	point := filepath.Join(dir, "mnt")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	mountOrSkip(t, device, point, "ext4", "errors=remount-ro")
	link := filepath.Join(dir, "link") // pg_wal is often a link
	if err := os.Symlink(point, link); err != nil {
		t.Fatal(err)
	}
	v := newVolumes(t, "wal="+link)
	got, err := collected(t, v)
	if err != nil || got["pg_reliability_volume_read_only{wal}"] != 0 {
		t.Fatalf("before the error read_only is not 0: %v %v", got, err)
	}
	if err := os.WriteFile("/sys/fs/ext4/"+filepath.Base(device)+"/trigger_fs_error", []byte("1"), 0); err != nil {
		t.Skipf("this kernel can't inject an ext4 error: %v", err)
	}
	if err := os.WriteFile(filepath.Join(point, "x"), nil, 0o600); err == nil {
		t.Fatal("the file system still takes writes; the test proves nothing")
	}
	got, err = collected(t, v)
	if err != nil || got["pg_reliability_volume_read_only{wal}"] != 1 {
		t.Errorf("after the error read_only is %v (%v), want 1", got["pg_reliability_volume_read_only{wal}"], err)
	}
}

// A FUSE mount whose server never answers holds statfs(2) in the kernel, as a dead NFS server does.
func TestVolumeOnADeadMountHangsAlone(t *testing.T) {
	needRoot(t)
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	dead, alive := t.TempDir(), t.TempDir()
	mountOrSkip(t, "dead", dead, "fuse", fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd()))
	v := newVolumes(t, "dead="+dead, "alive="+alive)
	v.wait = 50 * time.Millisecond
	for range 5 {
		began := time.Now()
		got, err := collected(t, v)
		if took := time.Since(began); took > time.Second {
			t.Fatalf("a collection took %s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "volume dead at "+dead+": the file system has not answered") {
			t.Fatalf("error %v, want the hang", err)
		}
		if got["pg_reliability_volume_success{alive}"] != 1 {
			t.Fatalf("the living volume is hidden: %v", got)
		}
	}
	hung := v.volumes[0].pending
	if err := fuse.Close(); err != nil { // the server dies: the kernel lets the call go
		t.Fatal(err)
	}
	<-hung.done
	v.wait = time.Second
	if _, err := collected(t, v); err == nil || strings.Contains(err.Error(), "has not answered") {
		t.Errorf("error %v, want the mount's own error now", err)
	}
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`43 27 7:0 / /mnt/my\040disk rw,relatime shared:1 master:2 - ext4 /dev/loop0 rw,errors=remount-ro,emergency_ro`)
	if !ok || m.id != 43 || m.point != "/mnt/my disk" || m.fstype != "ext4" || m.device != "/dev/loop0" || !m.readOnly() {
		t.Errorf("parsed %+v", m)
	}
	for _, line := range []string{"", "x", "1 2 3 - ext4 dev rw", "a 27 7:0 / /mnt rw - ext4 dev rw"} {
		if m, ok := parseMount(line); ok {
			t.Errorf("%q is parsed as %+v", line, m)
		}
	}
}

func mountOrSkip(t *testing.T, source, target, fstype, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, 0, data); err != nil {
		t.Skipf("mounting %s is not possible here: %v", fstype, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func runOrSkip(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Skipf("%s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}
