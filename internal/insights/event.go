package insights

import (
	"encoding/json"
	"fmt"
	"time"

	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/record"
)

// record makes the records of an insight's start or end: one in the journal if
// a trail takes it, and one in each store that takes the insights of another.
func (r *reader) record(b *kv.Batch, f *finding) ([]journal.Entry, error) {
	trails, stores := r.plan.takers(&f.key)
	at := time.Unix(f.minute*60, 0).UTC()
	rec := f.event(r.newID())
	data, err := rec.Entry(at)
	if err != nil {
		return nil, err
	}
	for _, st := range stores {
		id := r.newID()
		js, err := storeEvent(rec, st, id)
		if err != nil {
			return nil, err
		}
		r.m.cfg.Lake.PutInsight(b, st.InsightsTo, at, []byte(id), js)
	}
	r.m.cfg.Log.Info("an insight", "state", rec.Details.State, "account", f.key.Account, "region", f.key.Region, "type", f.key.Type,
		"event", f.key.Source+" "+f.key.Name, "error", f.key.Code, "average", rec.Details.Context.Statistics.Insight.Average,
		"baseline", rec.Details.Context.Statistics.Baseline.Average)
	if !trails {
		return nil, nil
	}
	return []journal.Entry{{Account: f.key.Account, Region: f.key.Region, Data: data}}, nil
}

// event is the finding as trails record it.
func (f *finding) event(id string) *record.InsightRecord {
	d := record.InsightDetails{State: "Start", EventSource: f.key.Source, EventName: f.key.Name, InsightType: f.key.Type, ErrorCode: f.key.Code}
	if f.end {
		d.State = "End"
	}
	d.Context.Statistics = record.InsightStatistics{Baseline: record.InsightAverage{Average: f.open.Average},
		Insight: record.InsightAverage{Average: rate(f.count, f.minutes)}, InsightDuration: f.minutes, BaselineDuration: f.open.Minutes}
	for i, name := range attributes {
		d.Context.Attributions = append(d.Context.Attributions, record.InsightAttribution{Attribute: name,
			Insight: f.values[i].top(f.minutes), Baseline: f.open.Baseline[i]})
	}
	rec := &record.InsightRecord{Region: f.key.Region, EventID: id, AccountID: f.key.Account, SharedEventID: f.open.SharedID, Details: d}
	if f.key.Trail != "" {
		rec.Source, rec.Details.SourceCategory = f.key.Trail, record.OnData
	}
	return rec
}

// lakeInsight is an Insights event as an event data store has it (CloudTrail
// user guide, "CloudTrail record contents for Insights events for event data
// stores").
type lakeInsight struct {
	Version   string `json:"eventVersion"`
	Category  string `json:"eventCategory"`
	Type      string `json:"eventType"`
	ID        string `json:"eventID"`
	Time      string `json:"eventTime"`
	Region    string `json:"awsRegion"`
	Account   string `json:"recipientAccountId"`
	SharedID  string `json:"sharedEventID"`
	Source    string `json:"insightSource"` // the store whose events are unusual
	State     string `json:"insightState"`
	From      string `json:"insightEventSource"`
	Name      string `json:"insightEventName"`
	ErrorCode string `json:"insightErrorCode,omitempty"`
	Insight   string `json:"insightType"`
	Context   struct {
		BaselineAverage  float64           `json:"baselineAverage"`
		InsightAverage   float64           `json:"insightAverage"`
		BaselineDuration int64             `json:"baselineDuration"`
		InsightDuration  int64             `json:"insightDuration"`
		Attributions     []lakeAttribution `json:"attributions"`
	} `json:"insightContext"`
}

// lakeAttribution names the first value of each side apart, too: the older
// form, which AWS still writes.
type lakeAttribution struct {
	Attribute       string                `json:"attribute"`
	InsightValue    string                `json:"insightValue"`
	InsightAverage  float64               `json:"insightAverage"`
	BaselineValue   string                `json:"baselineValue"`
	BaselineAverage float64               `json:"baselineAverage"`
	Insight         []record.InsightValue `json:"insight"`
	Baseline        []record.InsightValue `json:"baseline"`
}

func storeEvent(r *record.InsightRecord, st *lake.Store, id string) ([]byte, error) {
	e := lakeInsight{Version: record.InsightEventVersion, Category: r.Category, Type: r.EventType, ID: id, Time: r.EventTime, Region: r.Region,
		Account: r.AccountID, SharedID: r.SharedEventID, Source: st.ARN(), State: r.Details.State, From: r.Details.EventSource,
		Name: r.Details.EventName, ErrorCode: r.Details.ErrorCode, Insight: r.Details.InsightType}
	s := &r.Details.Context.Statistics
	e.Context.BaselineAverage, e.Context.BaselineDuration = s.Baseline.Average, s.BaselineDuration
	e.Context.InsightAverage, e.Context.InsightDuration = s.Insight.Average, s.InsightDuration
	for _, a := range r.Details.Context.Attributions {
		x := lakeAttribution{Attribute: a.Attribute, Insight: a.Insight, Baseline: a.Baseline}
		if len(a.Insight) > 0 {
			x.InsightValue, x.InsightAverage = a.Insight[0].Value, a.Insight[0].Average
		}
		if len(a.Baseline) > 0 {
			x.BaselineValue, x.BaselineAverage = a.Baseline[0].Value, a.Baseline[0].Average
		}
		e.Context.Attributions = append(e.Context.Attributions, x)
	}
	js, err := json.Marshal(&e)
	if err != nil {
		return nil, fmt.Errorf("encoding an insight: %w", err)
	}
	return js, nil
}
