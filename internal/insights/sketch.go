package insights

import (
	"cmp"
	"slices"

	"spoor/internal/record"
)

// The attributes that a rate is attributed to, in the order of a record.
var attributes = [...]string{"userIdentityArn", "userAgent", "errorCode"}

const numAttributes = len(attributes)

const (
	// topValues is how many values of an attribute a record names (CloudTrail
	// user guide, "attributions").
	topValues = 5
	// keptValues bounds the values of an attribute that are counted.
	keptValues = 16
)

// values are what one call has for the attributes.
type values [numAttributes]string

// tally counts the values of an attribute: exactly while there are no more
// than keptValues, and then as the Space-Saving algorithm does (Metwally,
// Agrawal and El Abbadi, 2005): a new value takes the place and the count of
// the rarest one, so that the frequent ones are always among those kept.
type tally []valueCount

type valueCount struct {
	Value string `json:"v"`
	Count int64  `json:"n"`
}

func (t tally) add(value string, n int64) tally {
	rarest := 0
	for i := range t {
		if t[i].Value == value {
			t[i].Count += n
			return t
		}
		if t[i].Count < t[rarest].Count {
			rarest = i
		}
	}
	if len(t) < keptValues {
		return append(t, valueCount{value, n})
	}
	t[rarest] = valueCount{value, t[rarest].Count + n}
	return t
}

// sketch is a tally of each attribute.
type sketch [numAttributes]tally

func (s *sketch) add(v *values, n int64) {
	for i := range s {
		s[i] = s[i].add(v[i], n)
	}
}

func (s *sketch) merge(o *sketch) {
	for i := range s {
		for _, v := range o[i] {
			s[i] = s[i].add(v.Value, v.Count)
		}
	}
}

// reset empties s, and keeps its memory.
func (s *sketch) reset() {
	for i := range s {
		s[i] = s[i][:0]
	}
}

// top gives the values of an attribute with the largest parts, as rates over
// so many minutes.
func (t tally) top(minutes int64) []record.InsightValue {
	sorted := slices.Clone(t)
	slices.SortFunc(sorted, func(a, b valueCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	out := []record.InsightValue{}
	for _, v := range sorted[:min(len(sorted), topValues)] {
		out = append(out, record.InsightValue{Value: v.Value, Average: rate(float64(v.Count), minutes)})
	}
	return out
}

// rate is an average by the minute.
func rate(count float64, minutes int64) float64 { return count / float64(max(minutes, 1)) }

// take removes from s what o counted.
func (s *sketch) take(o *sketch) {
	for i := range s {
		for _, v := range o[i] {
			for j := range s[i] {
				if s[i][j].Value == v.Value {
					s[i][j].Count = max(0, s[i][j].Count-v.Count)
				}
			}
		}
		s[i] = slices.DeleteFunc(s[i], func(v valueCount) bool { return v.Count == 0 })
	}
}
