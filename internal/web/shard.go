package web

import (
	"crypto/md5" //nolint:gosec // Prometheus' choice; nothing is kept secret by it
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// shard is a part of the targets: one of so many, from 0 on. The zero value is all of them.
type shard struct{ part, of uint64 }

// mostShards is more than anybody has Prometheus servers.
const mostShards = 10_000

// parseShard reads a shard such as 3/20; nothing is all targets.
func parseShard(text string) (shard, error) {
	if text == "" {
		return shard{}, nil
	}
	part, of, _ := strings.Cut(text, "/")
	p, errPart := strconv.ParseUint(part, 10, 32)
	n, errOf := strconv.ParseUint(of, 10, 32)
	if errPart != nil || errOf != nil || n > mostShards || p >= n {
		return shard{}, fmt.Errorf("%.40q is no shard. HINT: Ask for shard=0/20 up to shard=19/20 where there are 20", text)
	}
	return shard{p, n}, nil
}

// has is whether a target belongs to the shard: it is the one that hashmod in Prometheus' relabel_configs gives for the name.
func (s shard) has(name string) bool {
	if s.of == 0 {
		return true
	}
	sum := md5.Sum([]byte(name)) //nolint:gosec // see above
	return binary.BigEndian.Uint64(sum[8:])%s.of == s.part
}
