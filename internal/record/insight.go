package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// InsightEventVersion is the version of Insights records, whose form is their
// own.
const InsightEventVersion = "1.08"

// typeInsight is the eventType of Insights records.
const typeInsight = "AwsCloudTrailInsight"

// Event categories that an Insights record can be about.
const (
	OnManagement = "Management"
	OnData       = "Data"
)

// InsightRecord is an Insights event as a trail logs it (CloudTrail user guide,
// "CloudTrail record contents for Insights events for trails").
type InsightRecord struct {
	EventVersion  string `json:"eventVersion"`
	EventTime     string `json:"eventTime"`
	Region        string `json:"awsRegion"`
	EventID       string `json:"eventID"`
	EventType     string `json:"eventType"`
	AccountID     string `json:"recipientAccountId"`
	SharedEventID string `json:"sharedEventID"`
	// Source is the ARN of the trail whose data events the insight is about;
	// insights on management events are the account's and have none.
	Source   string         `json:"insightSource,omitempty"`
	Details  InsightDetails `json:"insightDetails"`
	Category string         `json:"eventCategory"`
}

// InsightDetails says what is unusual.
type InsightDetails struct {
	State       string         `json:"state"` // "Start" or "End"
	EventSource string         `json:"eventSource"`
	EventName   string         `json:"eventName"`
	InsightType string         `json:"insightType"`
	ErrorCode   string         `json:"errorCode,omitempty"`
	Context     InsightContext `json:"insightContext"`
	// SourceCategory is the category of the events that were counted, when that
	// is not Management.
	SourceCategory string `json:"sourceEventCategory,omitempty"`
}

// InsightContext is the evidence.
type InsightContext struct {
	Statistics   InsightStatistics    `json:"statistics"`
	Attributions []InsightAttribution `json:"attributions,omitempty"`
}

// InsightStatistics are rates, in calls or errors a minute, and the minutes
// that they were taken over.
type InsightStatistics struct {
	Baseline         InsightAverage `json:"baseline"`
	Insight          InsightAverage `json:"insight"`
	InsightDuration  int64          `json:"insightDuration"`
	BaselineDuration int64          `json:"baselineDuration"`
}

// InsightAverage is a rate by the minute.
type InsightAverage struct {
	Average float64 `json:"average"`
}

// InsightAttribution is what had the largest part in a rate, by one attribute
// of the calls.
type InsightAttribution struct {
	Attribute string         `json:"attribute"`
	Insight   []InsightValue `json:"insight"`
	Baseline  []InsightValue `json:"baseline"`
}

// InsightValue is one value's part. No value is the text "null".
type InsightValue struct {
	Value   string  `json:"value"`
	Average float64 `json:"average"`
}

// SourceCategory is the category of the events that the insight is about.
func (r *InsightRecord) SourceCategory() string {
	if r.Details.SourceCategory != "" {
		return r.Details.SourceCategory
	}
	return OnManagement
}

// Entry encodes r for the journal. It fills in what is the same in all
// Insights records.
func (r *InsightRecord) Entry(at time.Time) ([]byte, error) {
	r.EventVersion, r.EventType, r.Category = InsightEventVersion, typeInsight, Insight.String()
	r.EventTime = at.UTC().Format(eventTimeLayout)
	context, err := json.Marshal(&r.Details.Context)
	if err != nil {
		return nil, fmt.Errorf("encoding an insight: %w", err)
	}
	var e encoder
	js := append(make([]byte, 0, 1024+len(context)), `{"eventVersion":"`+InsightEventVersion+`","eventTime":"`+r.EventTime+`"`...)
	js, e.fields[FieldRegion] = appendText(js, "awsRegion", r.Region)
	js, e.fields[FieldEventID] = appendText(js, "eventID", r.EventID)
	js, e.fields[FieldEventType] = appendText(js, "eventType", r.EventType)
	js, e.fields[FieldAccount] = appendText(js, "recipientAccountId", r.AccountID)
	js, _ = appendText(js, "sharedEventID", r.SharedEventID)
	if r.Source != "" {
		js, _ = appendText(js, "insightSource", r.Source)
	}
	js = append(js, `,"insightDetails":{"state":`...)
	js = AppendString(js, r.Details.State)
	js, e.fields[FieldEventSource] = appendText(js, "eventSource", r.Details.EventSource)
	js, e.fields[FieldEventName] = appendText(js, "eventName", r.Details.EventName)
	js, _ = appendText(js, "insightType", r.Details.InsightType)
	if r.Details.ErrorCode != "" {
		js, e.fields[FieldErrorCode] = appendText(js, "errorCode", r.Details.ErrorCode)
	}
	js = append(append(js, `,"insightContext":`...), context...)
	if r.Details.SourceCategory != "" {
		js, _ = appendText(js, "sourceEventCategory", r.Details.SourceCategory)
	}
	js = append(js, '}')
	js, _ = appendText(js, "eventCategory", r.Category)
	js = append(js, '}')
	return appendHead(make([]byte, 0, len(js)+maxEntryHeader), byte(Insight), at, &e, js), nil
}

// appendHead appends an entry: what stands before the JSON, and the JSON.
func appendHead(dst []byte, flags byte, at time.Time, e *encoder, js []byte) []byte {
	dst = append(dst, entryVersion, flags)
	dst = binary.AppendVarint(dst, at.UnixMilli())
	dst = binary.AppendUvarint(dst, uint64(e.res.n))
	put := func(s span) {
		dst = binary.AppendUvarint(dst, uint64(s.off))
		dst = binary.AppendUvarint(dst, uint64(s.len))
	}
	for _, s := range e.fields {
		put(s)
	}
	for i := range e.res.n {
		put(e.res.at(i).typ)
		put(e.res.at(i).arn)
	}
	return append(dst, js...)
}

// ParseInsight reads an Insights record.
func ParseInsight(js []byte) (*InsightRecord, error) {
	var r InsightRecord
	if err := json.Unmarshal(js, &r); err != nil {
		return nil, fmt.Errorf("reading an insight: %w", err)
	}
	if r.EventType != typeInsight {
		return nil, fmt.Errorf("reading an insight: the record is of type %q", r.EventType)
	}
	return &r, nil
}
