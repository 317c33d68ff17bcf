package record

import (
	"encoding/json"
	"fmt"
	"time"
)

// aggregateVersion and typeAggregate are of aggregated events, whose form is
// their own.
const (
	aggregateVersion = "1.0"
	typeAggregate    = "AwsAggregatedEvent"
)

// AggregateRecord sums up data events of a time window (CloudTrail user guide,
// "CloudTrail record contents for aggregated events").
type AggregateRecord struct {
	AccountID  string
	EventID    string
	Region     string
	Source     string // eventSource of the events
	Start, End time.Time
	Summary    AggregateSummary
}

// AggregateSummary counts the events of one value of a primary dimension, by the
// values of others.
type AggregateSummary struct {
	Primary AggregateDimension   `json:"primaryDimension"`
	Details []AggregateDimension `json:"details"`
}

// AggregateDimension is how many events had which values.
type AggregateDimension struct {
	Dimension  string           `json:"dimension"`
	Statistics []AggregateCount `json:"statistics"`
}

// AggregateCount is how many events had a value.
type AggregateCount struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// Entry encodes r for the journal, for one trail alone.
func (r *AggregateRecord) Entry(trailARN string) ([]byte, error) {
	summary, err := json.Marshal(&r.Summary)
	if err != nil {
		return nil, fmt.Errorf("encoding an aggregated event: %w", err)
	}
	var e encoder
	js := append(make([]byte, 0, 1024+len(summary)), `{"eventVersion":"`+aggregateVersion+`"`...)
	js, e.fields[FieldAccount] = appendText(js, "accountId", r.AccountID)
	js, e.fields[FieldEventID] = appendText(js, "eventId", r.EventID)
	js, _ = appendText(js, "eventCategory", Aggregated.String())
	js, e.fields[FieldEventType] = appendText(js, "eventType", typeAggregate)
	js, e.fields[FieldRegion] = appendText(js, "awsRegion", r.Region)
	js, e.fields[FieldEventSource] = appendText(js, "eventSource", r.Source)
	js = append(js, `,"timeWindow":{"windowStart":"`...)
	js = r.Start.UTC().AppendFormat(js, eventTimeLayout)
	js = append(js, `","windowEnd":"`...)
	js = r.End.UTC().AppendFormat(js, eventTimeLayout)
	js = append(js, `","windowSize":"`...)
	js = fmt.Appendf(js, "PT%dM", int(r.End.Sub(r.Start)/time.Minute))
	js = append(append(js, `"},"summary":`...), summary...)
	js = append(js, '}')
	plain := appendHead(make([]byte, 0, len(js)+maxEntryHeader), byte(Aggregated), r.End, &e, js)
	return wrapExtra(nil, &extra{Trail: trailARN}, plain), nil
}
