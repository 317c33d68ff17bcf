package eventpattern

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"spoor/internal/aws"
)

type oracleStats struct {
	refused, positions, pairs, matched int
	differ                             []string
}

// check compares with event-ruler's answers to one case.
func (s *oracleStats) check(t *testing.T, c oracleCase) {
	t.Helper()
	p, err := Compile([]byte(c.Pattern))
	if c.Refused != "" {
		s.refused++
		e, ok := errors.AsType[*aws.Error](err)
		if !ok {
			t.Errorf("pattern %s: accepted; event-ruler: %s", c.Pattern, c.Refused)
			return
		}
		reason := strings.TrimPrefix(e.Message, "Event pattern is not valid. Reason: ")
		// Nested errors repeat their position.
		lines := strings.Split(c.Refused, "\n")
		want := strings.Join(lines[:min(2, len(lines))], "")
		mine, _, _ := strings.Cut(reason, " at [Source:")
		if strings.HasPrefix(lines[0], "Cannot invoke") {
			return // event-ruler fails on an empty list, which this package refuses
		}
		// It takes the members of a list in no order, hence the first of several faults.
		if !strings.Contains(mine, "at pos") && mine != lines[0] {
			t.Errorf("pattern %s:\n got %s\nwant %s", c.Pattern, mine, lines[0])
		} else if reason != want {
			s.positions++
		}
		return
	}
	if err != nil {
		t.Errorf("pattern %s: event-ruler accepts it: %v", c.Pattern, err)
		return
	}
	for i, event := range c.Events {
		s.pairs++
		if c.Match[i] {
			s.matched++
		}
		if got := p.Match([]byte(event)); got != c.Match[i] {
			s.differ = append(s.differ, fmt.Sprintf("pattern %s\n  event %s: %v; event-ruler: %v", c.Pattern, event, got, c.Match[i]))
		}
	}
}

// TestRuler holds this package to answers that event-ruler 2.1.0 gave: `make
// oracle` writes them, and compares many more.
func TestRuler(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/ruler/answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stats oracleStats
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c oracleCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		stats.check(t, c)
	}
	if len(stats.differ) > 0 {
		t.Error(strings.Join(stats.differ, "\n"))
	}
	if stats.matched < 200 || stats.refused < 20 {
		t.Errorf("the answers have %d matches and %d refusals: too few to tell", stats.matched, stats.refused)
	}
}
