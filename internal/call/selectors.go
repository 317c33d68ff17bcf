package call

import "spoor/internal/record"

// Selectors are several selectors as one: an event that any of them selects is
// recorded.
type Selectors []Selector

var _ Selector = Selectors{}

// Version implements Selector. Each version only grows, so their sum changes
// whenever one of them does.
func (s Selectors) Version() uint64 {
	var n uint64
	for _, x := range s {
		n += x.Version()
	}
	return n
}

// AnyData implements Selector.
func (s Selectors) AnyData() bool {
	for _, x := range s {
		if x.AnyData() {
			return true
		}
	}
	return false
}

// Selects implements Selector.
func (s Selectors) Selects(r *record.Record) bool {
	for _, x := range s {
		if x.Selects(r) {
			return true
		}
	}
	return false
}
