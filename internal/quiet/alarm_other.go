//go:build !linux

package quiet

func newAlarm() alarm { return nil }
