package crash

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kill is how a round ends.
type kill struct {
	phase string
	point string // internal/crashpoint's name, or "KIND STAGE" of the proxy; "" for a random time
	nth   int    // of the point
	after time.Duration
	proxy bool
	flood bool // the point needs a busy server
}

func (k kill) String() string {
	if k.point == "" {
		return k.phase
	}
	return k.point
}

// The phases whose kills are at random times: after the server was ready, and
// before, while it recovers from the kill before.
const (
	randomTime = "random time"
	starting   = "start"
)

// phases are the points of each phase. often is how many times a server comes
// by them in about a second of load.
var phases = []struct {
	name  string
	often int
	inner []string // internal/crashpoint
	outer []string // at the proxy
	flood bool     // only a busy server comes by
}{
	{"journal", 60, []string{"journal.numbered", "journal.committed"}, nil, false},
	{"intents", 15, []string{"call.intended", "call.effective", "s3.stored"}, []string{"object arrived", "object applied"}, false},
	{"delivery", 1, []string{"trail.cut", "trail.planned", "trail.uploaded", "trail.confirmed"}, []string{"log arrived", "log applied"}, false},
	{"digest", 1, []string{"digest.made", "digest.planned", "digest.uploaded", "digest.confirmed", "tiles.written", "tiles.complete", "checkpoint.published"}, []string{"digest arrived", "digest applied"}, false},
	{"index", 1, []string{"history.indexed", "history.committed"}, nil, false},
	{"rows of the columnar copy", 15, []string{"lake.copied", "lake.rows"}, nil, false},
	{"files of the columnar copy", 1, []string{"lake.parquet-written", "lake.parquet-not-named", "lake.rows-removed", "lake.merged", "lake.merge-committed"}, nil, false},
	{"stream into the columnar copy", 1, []string{"lake.streamed", "lake.stream-committed"}, nil, true},
	{"notifications", 2, []string{"notify.sent"}, nil, false},
	{"columnar twins of log files", 1, []string{"columnar.written", "columnar.settled", "columnar.committed"}, nil, false},
	{"results", 1, []string{"athena.result-written"}, []string{"result arrived", "result applied"}, false},
}

// schedule makes n kills, or more if that is less than the phases: at least one
// of each phase (a flood takes long and is for long runs), a third at random times,
// and the points in turn.
func schedule(rng *rand.Rand, n int) []kill {
	var points, out []kill
	for _, p := range phases {
		if p.flood && n < manyRounds {
			continue
		}
		var own []kill
		for i, name := range slices.Concat(p.inner, p.outer) {
			own = append(own, kill{phase: p.name, point: name, nth: 1 + rng.IntN(p.often), proxy: i >= len(p.inner), flood: p.flood})
		}
		rng.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		out = append(out, own[0])
		points = append(points, own[1:]...)
	}
	out = append(out, startKill(rng))
	rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	all := slices.Concat(points, out)
	for i, turn := 0, 0; len(out) < n; i++ {
		if i%15 == 14 {
			out = append(out, startKill(rng))
		}
		if i%3 == 0 {
			// Early moments hit the first calls, late ones delivery and files.
			out = append(out, kill{phase: randomTime, after: time.Duration(50+rng.IntN(2500)) * time.Millisecond})
			continue
		}
		out = append(out, all[turn%len(all)])
		turn++
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func startKill(rng *rand.Rand) kill {
	return kill{phase: starting, after: time.Duration(rng.IntN(400)) * time.Millisecond}
}

// divide gives each world its kills: those at the proxy to the one that has it,
// of the others about half to each.
func divide(list []kill) (embedded, elsewhere []kill) {
	for i, k := range list {
		if k.proxy || i%2 == 0 {
			elsewhere = append(elsewhere, k)
		} else {
			embedded = append(embedded, k)
		}
	}
	return embedded, elsewhere
}

// tally counts kills.
type tally struct {
	phases, points, faults map[string]int
	missed                 []string
}

func newTally() *tally {
	return &tally{phases: map[string]int{}, points: map[string]int{}, faults: map[string]int{}}
}

// missing are the phases without a kill in a run of n.
func (c *tally) missing(n int) []string {
	var out []string
	for _, p := range phases {
		if c.phases[p.name] == 0 && (!p.flood || n >= manyRounds) {
			out = append(out, p.name)
		}
	}
	if c.phases[starting] == 0 {
		out = append(out, starting)
	}
	return out
}

// table prints the figures of a run.
func (c *tally) table() string {
	var b strings.Builder
	for _, m := range []map[string]int{c.phases, c.points, c.faults} {
		names := make([]string, 0, len(m))
		for n := range m {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			b.WriteString("\n  ")
			b.WriteString(pad(n))
			b.WriteString(itoa(m[n]))
		}
		b.WriteString("\n")
	}
	if len(c.missed) > 0 {
		b.WriteString("\n  killed at another time because the point was not reached: " + strings.Join(c.missed, ", "))
	}
	return b.String()
}
