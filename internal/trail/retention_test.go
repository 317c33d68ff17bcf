package trail

import (
	"strings"
	"testing"
	"time"

	"spoor/internal/digest"
)

func TestParseRetentions(t *testing.T) {
	t.Parallel()
	r, err := parseRetentions([]string{"compliance:365", arn + "=GOVERNANCE:1"})
	if err != nil || *r.of(arn) != (Retention{Mode: Governance, Days: 1}) || *r.of("another") != (Retention{Mode: Compliance, Days: 365}) {
		t.Fatalf("%v, %v", r, err)
	}
	for _, texts := range [][]string{{""}, {"365"}, {"COMPLIANCE"}, {"COMPLIANCE:0"}, {"COMPLIANCE:36501"}, {"COMPLIANCE:-1"}, {"SOFT:3"}, {"COMPLIANCE:3d"},
		{"no-arn=COMPLIANCE:3"}, {"COMPLIANCE:3", "GOVERNANCE:3"}, {arn + "=COMPLIANCE:3", arn + "=COMPLIANCE:4"}} {
		if r, err := parseRetentions(texts); err == nil {
			t.Errorf("%q is %v", texts, r)
		}
	}
	if r, err := parseRetentions(nil); err != nil || r.of(arn) != nil {
		t.Errorf("without a setting: %v, %v", r.of(arn), err)
	}
}

// TestLockHolds: a lock that is as long and as strong as what was given holds.
func TestLockHolds(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		has, want string
		d         time.Duration
		holds     bool
	}{
		{Governance, Governance, 0, true}, {Governance, Governance, time.Second, true}, {Governance, Governance, -time.Second, false},
		{Compliance, Governance, 0, true}, {Governance, Compliance, time.Hour, false}, {Compliance, Compliance, -time.Second, false},
	} {
		l := digest.Lock{Mode: tt.has, Until: at.Add(tt.d)}
		if l.Holds(&Lock{Mode: tt.want, Until: at}) != tt.holds {
			t.Errorf("%s%+v for %s: want %v", tt.has, tt.d, tt.want, tt.holds)
		}
	}
}

func FuzzParseRetentions(f *testing.F) {
	for _, s := range []string{"COMPLIANCE:365", arn + "=governance:1", "=", ":", "COMPLIANCE:99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRetentions([]string{s})
		if err != nil {
			return
		}
		for _, x := range r {
			if x.Days < 1 || x.Days > maxRetentionDays || x.Mode != Governance && x.Mode != Compliance || !strings.Contains(strings.ToUpper(s), x.Mode) {
				t.Errorf("%q is %+v", s, x)
			}
		}
	})
}
