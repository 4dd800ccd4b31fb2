package fleet

import (
	"net/netip"
	"regexp"
	"slices"
)

// AllowRule lets targets be probed that are not listed. A password is sent only where a rule says so.
type AllowRule struct {
	// Hosts matches whole names; nil matches none.
	Hosts *regexp.Regexp
	// Networks match targets that are written as an IP address. Names are not resolved for them: who answers for a name
	// decides where it leads.
	Networks    []netip.Prefix
	Ports       []int
	Databases   []string
	AuthModules []string
}

func (r AllowRule) allows(a Address, module string) bool {
	return slices.Contains(r.AuthModules, module) && slices.Contains(r.Ports, a.Port) &&
		slices.Contains(r.Databases, a.Database) && r.matches(a.Host)
}

func (r AllowRule) matches(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err == nil && slices.ContainsFunc(r.Networks, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return true
	}
	return r.Hosts != nil && r.Hosts.MatchString(host)
}
