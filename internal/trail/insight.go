package trail

import "spoor/internal/record"

// Taker says what a trail takes.
type Taker struct {
	*State
	match *matcher
}

// WithInsights lists the trails that log and have insight selectors, of all
// accounts.
func (m *Manager) WithInsights() []Taker {
	var out []Taker
	for _, list := range m.snap.Load().active {
		for _, a := range list {
			if len(a.trail.Settings.Insights) > 0 {
				out = append(out, Taker{a.trail, a.match})
			}
		}
	}
	return out
}

// Covers reports whether the trail takes events of a region.
func (t *Taker) Covers(region string) bool {
	return t.Settings.MultiRegion || region == t.HomeRegion
}

// Takes reports whether the trail takes a record of its account.
func (t *Taker) Takes(e *record.Entry) bool {
	x := entryEvent{e: e}
	return t.Settings.inRegion(t.HomeRegion, e.Field(record.FieldRegion), &x) && t.match.matches(&x)
}
