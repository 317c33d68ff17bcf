//go:build oracle

package eventpattern

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var (
	update = flag.Bool("update", false, "write testdata/ruler from event-ruler's answers")
	pairs  = flag.Int("patterns", 20000, "patterns to compare")
)

// TestOracle compares this package with AWS's own matcher. EVENT_RULER is the
// command that answers the cases on its standard input; `make oracle` sets it.
func TestOracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	cases := make([]oracleCase, *pairs)
	for i := range cases {
		cases[i] = g.oracleCase(8)
	}
	answered := ask(t, cases)
	var stats oracleStats
	for _, c := range answered {
		stats.check(t, c)
	}
	t.Logf("%d patterns, %d of them refused, with %d positions other than AWS's; %d pairs, %d of them match",
		len(answered), stats.refused, stats.positions, stats.pairs, stats.matched)
	// event-ruler 2.1 errs itself now and then where several operators on one
	// field share its automaton. Who sees one of these asks it about each
	// operator alone.
	t.Log(strings.Join(stats.differ, "\n"))
	if len(stats.differ)*20_000 > stats.pairs {
		t.Errorf("%d answers differ", len(stats.differ))
	}
	if !*update {
		return
	}
	var b bytes.Buffer
	kept := map[string]int{}
	for _, c := range answered {
		// Most of what is kept tells something.
		kind, most := "other", 30
		switch {
		case c.Refused != "":
			kind, most = "refused", 60
		case slices.Contains(c.Match, true):
			kind, most = "matched", 160
		}
		if kept[kind]++; kept[kind] > most || len(c.Pattern) > 400 {
			continue
		}
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	if err := os.WriteFile("testdata/ruler/answers.jsonl", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, cases []oracleCase) []oracleCase {
	var in bytes.Buffer
	for _, c := range cases {
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", os.Getenv("EVENT_RULER"))
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for i := range cases {
		if err := dec.Decode(&cases[i]); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	return cases
}
