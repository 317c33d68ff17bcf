package insights

import (
	"strings"

	"spoor/internal/record"
)

// Types of insights, by AWS's names.
const (
	CallRate  = "ApiCallRateInsight"
	ErrorRate = "ApiErrorRateInsight"
)

// Times are minutes since 1970.

const (
	minutesPerHour = 60
	minutesPerDay  = 24 * 60
)

func dayOf(minute int64) int64 { return minute / minutesPerDay }

// scopeKey names what is watched together: one type of insight on an account's
// management events, or on the data events that one trail logs.
type scopeKey struct {
	Account string `json:"account"`
	Trail   string `json:"trail,omitempty"` // ARN; empty for management events
	Type    string `json:"type"`
}

// Key names a series: the calls of one operation in one region or, for error
// rates, those that end with one error.
type Key struct {
	Account, Region string
	Trail           string // ARN of the trail whose data events are counted, or empty
	Type            string
	Source, Name    string
	Code            string // errorCode, for error rates
}

func (k *Key) parts() []string {
	return []string{k.Account, k.Region, k.Trail, k.Type, k.Source, k.Name, k.Code}
}

func (k *Key) scope() scopeKey { return scopeKey{k.Account, k.Trail, k.Type} }

// scope is what is watched together, and for how long it has been: time in
// which the server did not run, or Insights were off, is no history.
type scope struct {
	scopeKey
	// Coverage is a digest of what the trails and stores take. When it changes,
	// rates change with it, and everything is learnt anew.
	Coverage string     `json:"coverage"`
	Days     []watchDay `json:"days"`
	// Seen are the minutes of the block under way that were watched, by window.
	Seen [numWindows]int64 `json:"seen"`

	series map[*series]bool
	open   map[*series]bool // those with an open insight
	dirty  bool
}

// watchDay is how many blocks of a day were watched from begin to end.
type watchDay struct {
	Day    int64             `json:"day"`
	Blocks [numWindows]int64 `json:"blocks"`
}

// dayCounts are a series' counts of a day by window: blocks' sums and their
// squares. Out are blocks that are not in them, since an insight was open.
type dayCounts struct {
	Day     int64               `json:"day"`
	Sum     [numWindows]float64 `json:"sum"`
	Squares [numWindows]float64 `json:"sq"`
	Out     [numWindows]int64   `json:"out,omitzero"`
}

// block is a window's block under way.
type block struct {
	Sum    float64 `json:"sum"`
	Values sketch  `json:"values,omitzero"`
	// Out says that an insight was open in it. Kept and KeptSquares are what of
	// it went into the day's counts.
	Out         bool    `json:"out,omitempty"`
	Kept        float64 `json:"kept"`
	KeptSquares float64 `json:"keptSq"`
}

// pendingMinute is a minute that is not over: calls of it may still come.
type pendingMinute struct {
	Minute int64  `json:"m"`
	Count  int64  `json:"n"`
	Values sketch `json:"values,omitzero"`
}

// series is all that is known of one operation.
type series struct {
	Key
	Days []dayCounts `json:"days"`
	// Since is when it began to be learnt, if later than the scope; Before are
	// the blocks of that day before it.
	Since  int64             `json:"since,omitempty"`
	Before [numWindows]int64 `json:"before,omitzero"`
	Blocks [numWindows]block `json:"blocks"`
	// Today tallies the day under way; days before are rows of their own.
	Today   sketch          `json:"today,omitzero"`
	Pending []pendingMinute `json:"pending,omitempty"`
	Open    *openInsight    `json:"open,omitempty"`

	sc      *scope
	written map[int64]int64 // counts by minute that are not in rows yet
	dirty   bool
}

// openInsight is an insight between its start and its end.
type openInsight struct {
	SharedID  string    `json:"sharedId"`
	Window    int       `json:"window"`
	Direction direction `json:"direction"`
	Start     int64     `json:"start"`
	Last      int64     `json:"last"` // the last minute that was unusual
	judged    int64     // the last minute that was looked at
	Count     float64   `json:"count"`
	Values    sketch    `json:"values"`
	// What came after Last, which belongs to the insight if it goes on.
	Quiet       int     `json:"quiet"`
	After       float64 `json:"after"`
	AfterValues sketch  `json:"afterValues,omitzero"`
	// The baseline at the start.
	Average  float64                              `json:"average"`
	Minutes  int64                                `json:"minutes"`
	Baseline [numAttributes][]record.InsightValue `json:"baseline"`
}

func (o *openInsight) duration() int64 { return o.Last - o.Start + 1 }

// day finds or begins the counts of a day.
func (s *series) day(day int64) *dayCounts {
	for i := len(s.Days) - 1; i >= 0; i-- {
		if s.Days[i].Day == day {
			return &s.Days[i]
		}
		if s.Days[i].Day < day {
			s.Days = append(s.Days, dayCounts{})
			copy(s.Days[i+2:], s.Days[i+1:])
			s.Days[i+1] = dayCounts{Day: day}
			return &s.Days[i+1]
		}
	}
	s.Days = append([]dayCounts{{Day: day}}, s.Days...)
	return &s.Days[0]
}

func (c *scope) day(day int64) *watchDay {
	if n := len(c.Days); n == 0 || c.Days[n-1].Day < day {
		c.Days = append(c.Days, watchDay{Day: day})
	}
	return &c.Days[len(c.Days)-1]
}

// baseline adds up a window's blocks of the days from a first one on.
func (s *series) baseline(w int, from int64) (sum, squares float64, blocks int64) {
	from = max(from, dayOf(s.Since))
	for i := range s.sc.Days {
		if s.sc.Days[i].Day >= from {
			blocks += s.sc.Days[i].Blocks[w]
		}
	}
	if s.Since > 0 && dayOf(s.Since) >= from {
		blocks -= s.Before[w]
	}
	for i := range s.Days {
		if d := &s.Days[i]; d.Day >= from {
			sum, squares, blocks = sum+d.Sum[w], squares+d.Squares[w], blocks-d.Out[w]
		}
	}
	return sum, squares, blocks
}

// relearn forgets the baseline: what comes from a minute on makes a new one.
func (s *series) relearn(minute int64) {
	s.Days, s.Since = nil, minute
	s.Before = s.sc.day(dayOf(minute)).Blocks
	s.Today.reset()
}

// roleOf is a caller's ARN as records attribute calls: sessions of a role are
// one.
func roleOf(arn string) string {
	if at := strings.Index(arn, ":assumed-role/"); at >= 0 {
		if i := strings.LastIndexByte(arn, '/'); i > at+len(":assumed-role/") {
			return arn[:i]
		}
	}
	return arn
}

// orNull is a value as records show it.
func orNull(v string) string {
	if v == "" {
		return "null"
	}
	return v
}
