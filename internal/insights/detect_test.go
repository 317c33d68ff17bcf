package insights

import (
	"math"
	"testing"
)

// TestTails compares the tails with sums over the distribution's own terms.
func TestTails(t *testing.T) {
	t.Parallel()
	for _, m := range []model{{0.01, maxSize}, {3, maxSize}, {3, 0.2}, {10, 4}, {250, 80}, {1200, maxSize}, {1e-4, 0.5}} {
		term := func(k float64) float64 { // log of the probability of k
			a, _ := math.Lgamma(k + m.size)
			b, _ := math.Lgamma(m.size)
			c, _ := math.Lgamma(k + 1)
			p := m.mean / (m.mean + m.size)
			return math.Exp(a - b - c + k*math.Log(p) + m.size*math.Log1p(-p))
		}
		below := 0.0
		for k := 0.0; k < 3000; k++ {
			if below > 1e-9 {
				if got := m.above(k); math.Abs(got-(1-below)) > 1e-7 {
					t.Fatalf("mean %g size %g: P(X >= %g) = %g, want %g", m.mean, m.size, k, got, 1-below)
				}
			}
			below += term(k)
			if got := m.below(k); math.Abs(got-below) > 1e-7+1e-4*below {
				t.Fatalf("mean %g size %g: P(X <= %g) = %g, want %g", m.mean, m.size, k, got, below)
			}
		}
	}
	// Far out, where a difference from one would be noise.
	if got, want := (model{1e-4, maxSize}).above(5), math.Pow(1e-4, 5)/120; math.Abs(got/want-1) > 0.01 {
		t.Errorf("P(X >= 5) at a mean of 1e-4 is %g, want about %g", got, want)
	}
}

// TestStart: what opens an insight, by baseline and count.
func TestStart(t *testing.T) {
	t.Parallel()
	p := Defaults()
	month := int64(28 * 1440)
	poisson := func(rate float64, n int64) model { return fit(rate*float64(n), (rate+rate*rate)*float64(n), n) }
	cron := fit(50*float64(month)/60, 2500*float64(month)/60, month) // 50 calls each hour, in one minute
	for _, c := range []struct {
		name  string
		w     int
		m     model
		count float64
		want  direction
	}{
		{"never seen, four calls", 0, poisson(0, month), 4, usual},
		{"never seen, five calls", 0, poisson(0, month), 5, more},
		{"never seen for a quarter of an hour only", 0, poisson(0, 15), 3, usual},
		{"one a minute, eight", 0, poisson(1, month), 8, usual},
		{"one a minute, twelve", 0, poisson(1, month), 12, more},
		{"hundred a minute, a tenth more", 0, poisson(100, month), 110, usual},
		{"ten thousand a minute, significant and small", 0, poisson(10_000, month), 11_000, usual},
		{"ten thousand a minute, twice", 0, poisson(10_000, month), 20_100, more},
		{"a job of each hour", 0, cron, 50, usual},
		{"a job of each hour, ten times as much", 0, cron, 700, more},
		{"ten minutes at twice the rate", 1, poisson(50, month/10), 110, more},
		{"nothing in ten minutes of one each", 1, poisson(10, month/10), 0, usual},
		{"nothing in an hour of one a minute", 2, poisson(60, month/60), 0, fewer},
		{"half in an hour", 2, poisson(600, month/60), 200, fewer},
		{"nothing in a minute is never told", 0, poisson(100, month), 0, usual},
	} {
		if got := p.start(c.w, c.m, c.count, true); got != c.want {
			t.Errorf("%s: %d, want %d (above %g, below %g)", c.name, got, c.want, c.m.above(c.count), c.m.below(c.count))
		}
	}
	if p.start(2, poisson(60, month/60), 0, false) != usual {
		t.Error("fewer errors are unusual")
	}
}
