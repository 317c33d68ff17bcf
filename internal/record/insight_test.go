package record

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// documented are the members of AWS's documented sample of an Insights record,
// in its order (CloudTrail user guide, "CloudTrail Insights event record
// example"): the path of each, once.
var documented = []string{"eventVersion", "eventTime", "awsRegion", "eventID", "eventType", "recipientAccountId", "sharedEventID", "insightDetails",
	"state", "eventSource", "eventName", "insightType", "insightContext", "statistics", "baseline", "average", "insight", "insightDuration",
	"baselineDuration", "attributions", "attribute", "value", "eventCategory"}

func sampleInsight() *InsightRecord {
	return &InsightRecord{Region: "us-east-1", EventID: "0f6a1c3e-0000-4000-8000-000000000001", AccountID: "123456789012",
		SharedEventID: "0f6a1c3e-0000-4000-8000-000000000002",
		Details: InsightDetails{State: "Start", EventSource: "keyspaces.amazonaws.com", EventName: "CreateTable", InsightType: "ApiCallRateInsight",
			Context: InsightContext{
				Statistics: InsightStatistics{Baseline: InsightAverage{9.5e-5}, Insight: InsightAverage{5}, InsightDuration: 1, BaselineDuration: 10181},
				Attributions: []InsightAttribution{
					{Attribute: "userIdentityArn", Insight: []InsightValue{{"arn:aws:sts::123456789012:assumed-role/deploy", 5}},
						Baseline: []InsightValue{{"arn:aws:sts::123456789012:assumed-role/deploy", 9.5e-5}}},
					{Attribute: "userAgent", Insight: []InsightValue{{`agent/1 "quoted"`, 5}}, Baseline: []InsightValue{{`agent/1 "quoted"`, 9.5e-5}}},
					{Attribute: "errorCode", Insight: []InsightValue{{"null", 5}}, Baseline: []InsightValue{{"null", 9.5e-5}}},
				}}}}
}

func TestInsightGolden(t *testing.T) {
	t.Parallel()
	raw, err := sampleInsight().Entry(time.Date(2026, 7, 10, 1, 42, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	e, err := DecodeEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "insight.json")
	want, err := os.ReadFile(golden)
	if err != nil || string(e.JSON)+"\n" != string(want) {
		t.Fatalf("%v; the record is\n%s", err, e.JSON)
	}
	// The members are the documented ones, in the documented order.
	var order []string
	for _, m := range regexp.MustCompile(`"([A-Za-z]+)":`).FindAllStringSubmatch(string(e.JSON), -1) {
		if !slices.Contains(order, m[1]) {
			order = append(order, m[1])
		}
	}
	if !slices.Equal(order, documented) {
		t.Errorf("members %v, want %v", order, documented)
	}
}

func TestInsightRoundTrip(t *testing.T) {
	t.Parallel()
	in := sampleInsight()
	in.Source, in.Details.SourceCategory, in.Details.ErrorCode = "arn:aws:cloudtrail:us-east-1:123456789012:trail/t", OnData, "Access\"Denied"
	at := time.Date(2026, 7, 10, 1, 42, 0, 0, time.UTC)
	raw, err := in.Entry(at)
	if err != nil {
		t.Fatal(err)
	}
	e, err := DecodeEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	if e.Category != Insight || !e.Time.Equal(at) {
		t.Errorf("category %v, time %v", e.Category, e.Time)
	}
	for f, want := range map[Field]string{FieldEventID: in.EventID, FieldEventName: "CreateTable", FieldEventSource: "keyspaces.amazonaws.com",
		FieldRegion: "us-east-1", FieldAccount: "123456789012", FieldErrorCode: "Access\"Denied", FieldEventType: "AwsCloudTrailInsight", FieldUserARN: ""} {
		if got := e.Field(f); got != want {
			t.Errorf("field %d is %q, want %q", f, got, want)
		}
	}
	out, err := ParseInsight(e.JSON)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(in)
	b, _ := json.Marshal(out)
	if string(a) != string(b) {
		t.Errorf("read back\n%s\nwant\n%s", b, a)
	}
	if out.SourceCategory() != OnData || sampleInsight().SourceCategory() != OnManagement {
		t.Error("the source's category is wrong")
	}
	if _, err := ParseInsight([]byte(`{"eventType":"AwsApiCall"}`)); err == nil {
		t.Error("a call's record is read as an insight")
	}
}

func FuzzParseInsight(f *testing.F) {
	raw, err := sampleInsight().Entry(time.Unix(0, 0))
	if err != nil {
		f.Fatal(err)
	}
	e, err := DecodeEntry(raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.JSON)
	f.Fuzz(func(t *testing.T, js []byte) {
		if r, err := ParseInsight(js); err == nil && r.EventType != typeInsight {
			t.Errorf("read a record of type %q", r.EventType)
		}
	})
}
