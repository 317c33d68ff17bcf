package aggregate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"spoor/internal/record"
)

// The templates of aggregation, by AWS's names.
const (
	APIActivity    = "API_ACTIVITY"
	ResourceAccess = "RESOURCE_ACCESS"
	UserActions    = "USER_ACTIONS"
)

// dimension is what an event is counted by.
type dimension uint8

const (
	eventName dimension = iota
	resourceARN
	userIdentity
	sourceIP
	userAgent
	errorCode
	numDimensions
)

var dimensionNames = [numDimensions]string{"eventName", "resourceARN", "userIdentity", "sourceIpAddress", "userAgent", "errorCodes"}

// templates say by what a template groups events; each group has details by all
// the other dimensions.
var templates = map[string]dimension{APIActivity: eventName, ResourceAccess: resourceARN, UserActions: userIdentity}

// Bounds of what is counted and shown. What is over them is counted under
// others, so that sums stay right.
const (
	maxGroups = 1000    // of a window and template
	maxValues = 1000    // of a group and dimension
	maxKept   = 100_000 // values of a window, over all groups: what bounds memory
	maxShown  = 40
	maxText   = 1024
	others    = "others"
)

// values are an event's values by dimension, "" for none.
type values [numDimensions]string

func valuesOf(e *record.Entry) *values {
	v := &values{eventName: e.Field(record.FieldEventName), resourceARN: resourceOf(e), userIdentity: cmp.Or(e.Field(record.FieldUserARN), "anonymous"),
		sourceIP: e.SourceIP(), userAgent: e.UserAgent(), errorCode: e.Field(record.FieldErrorCode)}
	for i := range v {
		v[i] = record.Truncate(v[i], maxText)
	}
	return v
}

// resourceOf is the resource that an event counts for: of an object its bucket,
// since what each object saw is what the events themselves are for; else the
// first.
func resourceOf(e *record.Entry) string {
	first, bucket := "", ""
	e.Resources(func(typ, arn string) {
		if first == "" {
			first = arn
		}
		if bucket == "" && typ == "AWS::S3::Bucket" {
			bucket = arn
		}
	})
	return cmp.Or(bucket, first)
}

type windowKey struct {
	trail, region string
	start         int64 // unix time
}

// window is what one trail logged of a region in one window.
type window struct {
	account string
	first   uint64 // the number of the first event, of those that are counted here
	groups  map[groupKey]*group
	sizes   map[string]int // groups by template
	kept    int            // values in the groups' counts
}

type groupKey struct{ template, source, primary string }

type group struct {
	n      uint64
	counts [numDimensions]map[string]uint64
}

// count counts an event for a template. One without a value of the template's
// dimension, such as a call without a resource, is not counted.
func (w *window) count(template, source string, v *values) {
	by, ok := templates[template]
	if !ok || v[by] == "" {
		return
	}
	k := groupKey{template, source, v[by]}
	g := w.groups[k]
	if g == nil && w.sizes[template] >= maxGroups {
		k.primary = others
		g = w.groups[k]
	}
	if g == nil {
		if w.sizes == nil {
			w.sizes = map[string]int{}
		}
		g = &group{}
		w.groups[k] = g
		w.sizes[template]++
	}
	g.n++
	for d := range numDimensions {
		if d == by || v[d] == "" {
			continue
		}
		if g.counts[d] == nil {
			g.counts[d] = map[string]uint64{}
		}
		value := v[d]
		if _, known := g.counts[d][value]; !known {
			if len(g.counts[d]) >= maxValues || w.kept >= maxKept {
				value = others
			} else {
				w.kept++
			}
		}
		g.counts[d][value]++
	}
}

// records are the window's aggregated events, one for each value of each
// template's dimension, in order.
func (w *window) records(k windowKey, newID func() string) []*record.AggregateRecord {
	keys := slices.SortedFunc(maps.Keys(w.groups), func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.template, b.template), cmp.Compare(a.source, b.source), cmp.Compare(a.primary, b.primary))
	})
	start := time.Unix(k.start, 0).UTC()
	out := make([]*record.AggregateRecord, 0, len(keys))
	for _, gk := range keys {
		g, by := w.groups[gk], templates[gk.template]
		rec := &record.AggregateRecord{AccountID: w.account, EventID: newID(), Region: k.region, Source: gk.source, Start: start, End: start.Add(Window)}
		rec.Summary.Primary = record.AggregateDimension{Dimension: dimensionNames[by], Statistics: []record.AggregateCount{{Name: gk.primary, Value: g.n}}}
		rec.Summary.Details = []record.AggregateDimension{}
		for d := range numDimensions {
			if len(g.counts[d]) > 0 {
				rec.Summary.Details = append(rec.Summary.Details, record.AggregateDimension{Dimension: dimensionNames[d], Statistics: top(g.counts[d])})
			}
		}
		out = append(out, rec)
	}
	return out
}

// top lists the most frequent values, and what the rest adds up to.
func top(counts map[string]uint64) []record.AggregateCount {
	rest := counts[others]
	list := make([]record.AggregateCount, 0, len(counts))
	for name, n := range counts {
		if name != others {
			list = append(list, record.AggregateCount{Name: name, Value: n})
		}
	}
	slices.SortFunc(list, func(a, b record.AggregateCount) int {
		return cmp.Or(-cmp.Compare(a.Value, b.Value), cmp.Compare(a.Name, b.Name))
	})
	if len(list) > maxShown {
		for _, x := range list[maxShown:] {
			rest += x.Value
		}
		list = list[:maxShown]
	}
	if rest > 0 {
		list = append(list, record.AggregateCount{Name: others, Value: rest})
	}
	return list
}

// sorted are the open windows in order.
func (r *reader) sorted() []windowKey {
	return slices.SortedFunc(maps.Keys(r.windows), func(a, b windowKey) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.trail, b.trail), cmp.Compare(a.region, b.region))
	})
}
