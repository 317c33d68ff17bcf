package digest

import "time"

// Retention says for how long objects are locked (S3's Object Lock).
type Retention struct {
	Mode  string `json:"mode"` // GOVERNANCE or COMPLIANCE
	Days  int    `json:"days,omitempty"`
	Years int    `json:"years,omitempty"`
}

// Until is when the retention of an object made at a time ends.
func (r *Retention) Until(made time.Time) time.Time { return made.AddDate(r.Years, 0, r.Days) }

// Lock is what an object is locked with.
type Lock struct {
	Mode  string    `json:"mode"`
	Until time.Time `json:"retainUntil"`
}

// Holds reports whether an object that has the lock l is protected as well as
// want says: as long, and in no weaker mode.
func (l *Lock) Holds(want *Lock) bool {
	return !l.Until.Before(want.Until) && (l.Mode == want.Mode || l.Mode == "COMPLIANCE")
}
