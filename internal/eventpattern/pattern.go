// Package eventpattern is EventBridge's pattern language: which JSON events a
// pattern selects. It is pure.
//
// A pattern mirrors the event's shape; each of its leaves is a list of values
// and operators, one of which must hold, and all leaves must. The operators are
// those of "Comparison operators for use in event patterns" in the EventBridge
// User Guide; where that page leaves a case open (arrays, numbers, addresses,
// what is refused and with which words), this package does what AWS's own
// matcher, aws/event-ruler 2.1, does: `make oracle` compares the two.
package eventpattern

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"spoor/internal/aws"
)

const (
	// MaxSize is the longest pattern, in bytes (EventBridge quotas, "Event
	// pattern size").
	MaxSize = 4096
	// maxBranches is how many combinations all $or of a pattern may make
	// (EventBridge User Guide, "Or matching": 1000).
	maxBranches = 1000
	// maxDepth bounds recursion, in patterns as in events (Jackson's limit).
	maxDepth = 1000
)

// Pattern is a compiled pattern. It is immutable, and may be used by any number
// of goroutines.
type Pattern struct {
	root     *node
	fields   int
	paths    map[string]int
	branches []branch
}

// node is a step of the paths that the pattern names. An event is walked along
// it, so that whatever no pattern asks for is skipped unread.
type node struct {
	next  map[string]*node
	field int // index of the leaf that ends here, or -1
}

// branch is one combination of the $or alternatives: all its clauses must hold.
type branch []clause

type clause struct {
	field  int
	path   string
	values []matcher
	absent bool // {"exists": false} stands among the values
}

// Compile reads a pattern. What EventBridge's PutRule and TestEventPattern
// refuse is refused with their error, InvalidEventPatternException.
func Compile(text []byte) (*Pattern, error) {
	if len(text) > MaxSize {
		return nil, invalid(fmt.Sprintf("an event pattern has at most %d characters", MaxSize))
	}
	branches, err := parse(text, true)
	if err != nil {
		// "$or" may also be an ordinary name: EventBridge takes it as one where it
		// does not introduce alternatives.
		var plain error
		if branches, plain = parse(text, false); plain != nil {
			return nil, err
		}
	}
	p := &Pattern{root: &node{field: -1}, paths: map[string]int{}, branches: branches}
	for _, b := range p.branches {
		slices.SortFunc(b, func(x, y clause) int { return strings.Compare(x.path, y.path) })
		for i := range b {
			b[i].field = p.field(b[i].path)
		}
	}
	return p, nil
}

// field is the index of a path, whose steps are added to the tree. A dot in a
// name is a step, as in event-ruler: {"a":{"b":…}} and {"a.b":…} are one path.
func (p *Pattern) field(path string) int {
	if i, ok := p.paths[path]; ok {
		return i
	}
	n := p.root
	for step := range strings.SplitSeq(path, ".") {
		if n.next == nil {
			n.next = map[string]*node{}
		}
		child := n.next[step]
		if child == nil {
			child = &node{field: -1}
			n.next[step] = child
		}
		n = child
	}
	n.field = p.fields
	p.paths[path] = p.fields
	p.fields++
	return n.field
}

func invalid(reason string) error {
	return &aws.Error{Kind: aws.Invalid, Code: "InvalidEventPatternException",
		Message: "Event pattern is not valid. Reason: " + reason}
}

// Filter decides by a few strings of an event, known before the event is made,
// whether the pattern can match it at all.
type Filter struct {
	branches [][]check
}

type check struct {
	slot   int
	values []matcher
}

// Filter prepares the question for the leaves at the paths. Each must be a
// string, and the only leaf at its path.
func (p *Pattern) Filter(paths ...string) Filter {
	var f Filter
	for _, b := range p.branches {
		checks := make([]check, 0, len(paths))
		for slot, path := range paths {
			for _, c := range b {
				if c.path == path {
					checks = append(checks, check{slot, c.values})
				}
			}
		}
		f.branches = append(f.branches, checks)
	}
	return f
}

// May is false when no event matches that has at the filter's paths what known
// says by their number. Only what decides is asked for.
func (f Filter) May(known func(path int) string) bool {
	var l leaf
	for _, checks := range f.branches {
		ok := true
		for i := range checks {
			if l.text = known(checks[i].slot); !anyMatches(checks[i].values, &l) {
				ok = false
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}

// parseIP reads what event-ruler takes for an address: dotted decimals, leading
// zeros allowed, and IPv6 without a dotted part; an IPv4 address in IPv6's clothes
// is the IPv4 address.
func parseIP(s string) (netip.Addr, bool) {
	if len(s) < 2 || len(s) > 64 {
		return netip.Addr{}, false
	}
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || strings.Contains(s, ".") {
			return netip.Addr{}, false
		}
		return a.Unmap(), true
	}
	var octets [4]byte
	part, value, digits := 0, 0, 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			if digits == 0 || part > 3 {
				return netip.Addr{}, false
			}
			octets[part] = byte(value)
			part, value, digits = part+1, 0, 0
			continue
		}
		if s[i] < '0' || s[i] > '9' {
			return netip.Addr{}, false
		}
		value, digits = value*10+int(s[i]-'0'), digits+1
		if value > 255 {
			return netip.Addr{}, false
		}
	}
	return netip.AddrFrom4(octets), part == 4
}
