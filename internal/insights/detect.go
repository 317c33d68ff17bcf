package insights

import (
	"math"
	"time"
)

// Params are the detector's settings. What each one does stands in
// docs/INSIGHTS.md.
type Params struct {
	// Baseline is how far back the baseline reaches, in whole days. AWS: 28 days.
	Baseline time.Duration
	// MinHistory is how long calls are watched before the first insight. AWS: up
	// to 36 hours.
	MinHistory time.Duration
	// MinCalls is the smallest number of calls or errors in one minute that can
	// be unusual. Longer windows ask for more: see windows.
	MinCalls int
	// Significance is the probability, under the baseline, below which a count
	// is unusual.
	Significance float64
	// MaxDuration ends an insight; the new rate is then learnt as the baseline.
	MaxDuration time.Duration
	// MaxSeries bounds the APIs that are watched, over all accounts, regions and
	// error codes.
	MaxSeries int
}

// Defaults are the settings of a server that sets none.
func Defaults() Params {
	return Params{Baseline: 28 * 24 * time.Hour, MinHistory: 36 * time.Hour, MinCalls: 5, Significance: 1e-6,
		MaxDuration: 24 * time.Hour, MaxSeries: 10_000}
}

// window is one time scale of the detector: counts are tested in blocks of so
// many minutes, aligned to the hour.
type window struct {
	minutes int64
	// calls multiplies Params.MinCalls.
	calls int
	// quiet is how many blocks in a row must be usual for an insight of this
	// scale to end.
	quiet int
	// blocks is the least number of blocks that make a baseline.
	blocks int64
}

// One minute catches bursts; ten minutes catch smaller ones that last; an hour
// catches what stops. The hour is the longest that divides a day evenly and is
// still tested while somebody can do something about it.
var windows = [...]window{
	{minutes: 1, calls: 1, quiet: 5, blocks: 10},
	{minutes: 10, calls: 2, quiet: 1, blocks: 12},
	{minutes: 60, calls: 6, quiet: 1, blocks: 12},
}

const numWindows = len(windows)

// Effect sizes: what is significant but small is not worth telling.
const (
	startFactor = 2.0 // times the baseline, or the baseline divided by it
	endFactor   = 1.5
	// endSignificance is the hysteresis: an insight goes on while the count is
	// less probable than this.
	endSignificance = 1e-2
)

// model is the baseline of one series at one time scale: a negative binomial
// distribution of a block's count.
type model struct {
	mean float64
	size float64 // the distribution's shape; large where it is a Poisson one
}

// maxSize stands for a Poisson distribution: the variance differs by a millionth
// of the squared mean.
const maxSize = 1e6

// fit makes the baseline from n blocks with a sum and a sum of squares.
//
// With calls that come independently of each other a block's count is Poisson.
// Real callers come in bursts and sleep at night, so the counts vary more than
// that; phi is by how much. Half a call is added to the sum (Jeffreys' prior of
// a Poisson rate), so that what was never seen has a small rate and not none,
// and the variance is that of a prediction, which grows where there is little
// history.
func fit(sum, squares float64, n int64) model {
	blocks := float64(n)
	mean := (sum + 0.5) / blocks
	phi := 1.0
	if n > 1 && sum > 0 {
		m := sum / blocks
		phi = max(1, (squares-blocks*m*m)/(blocks-1)/m)
	}
	variance := mean * phi * (1 + 1/blocks)
	size := maxSize
	if d := variance - mean; d > mean*mean/maxSize {
		size = mean * mean / d
	}
	return model{mean, size}
}

// above is the probability of a count of k or more.
func (m model) above(k float64) float64 {
	if k <= 0 {
		return 1
	}
	return incompleteBeta(k, m.size, m.mean/(m.mean+m.size))
}

// below is the probability of a count of k or less.
func (m model) below(k float64) float64 {
	return incompleteBeta(m.size, k+1, m.size/(m.mean+m.size))
}

// direction is which way a count is unusual.
type direction int8

const (
	usual direction = 0
	more  direction = 1
	fewer direction = -1
)

// start decides whether a block's count opens an insight. Too few calls are
// unusual where calls are expected all the time; the effect size is asked
// first, as it is cheap.
func (p *Params) start(w int, m model, count float64, drops bool) direction {
	switch {
	case count >= startFactor*m.mean && count >= float64(p.MinCalls*windows[w].calls) && m.above(count) < p.Significance:
		return more
	// Nothing at all has at least the probability e^-mean.
	case drops && w > 0 && count <= m.mean/startFactor && m.mean > -math.Log(p.Significance) && m.below(count) < p.Significance:
		return fewer
	}
	return usual
}

// goesOn decides whether a block's count keeps an insight open.
func (p *Params) goesOn(w int, m model, count float64, d direction) bool {
	if d == fewer {
		return count <= m.mean/endFactor && m.below(count) < endSignificance
	}
	return count >= endFactor*m.mean && 2*count >= float64(p.MinCalls*windows[w].calls) && m.above(count) < endSignificance
}

// incompleteBeta is the regularized incomplete beta function I_x(a, b), by its
// continued fraction (Abramowitz and Stegun 26.5.8) evaluated with Lentz's
// method.
func incompleteBeta(a, b, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // where the fraction converges slowly
		return 1 - incompleteBeta(b, a, 1-x)
	}
	lab, _ := math.Lgamma(a + b)
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	if front == 0 {
		return 0
	}
	const tiny, steps = 1e-300, 100_000
	away := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/away(1-(a+b)*x/(a+1))
	sum := d
	for i := 1; i <= steps; i++ {
		k := float64(i)
		even := k * (b - k) * x / ((a + 2*k - 1) * (a + 2*k))
		d = 1 / away(1+even*d)
		c = away(1 + even/c)
		sum *= d * c
		odd := -(a + k) * (a + b + k) * x / ((a + 2*k) * (a + 2*k + 1))
		d = 1 / away(1+odd*d)
		c = away(1 + odd/c)
		step := d * c
		sum *= step
		if math.Abs(step-1) < 1e-12 {
			break
		}
	}
	return front * sum / a
}
