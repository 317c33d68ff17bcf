package cloudtrail

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/history"
	"spoor/internal/insights"
	"spoor/internal/record"
	"spoor/internal/trail"
)

const (
	maxInsightPoints    = 21600 // of one ListInsightsMetricData
	defaultMetricPeriod = 3600  // seconds
	insightsEventDays   = 90    // where a request gives no start
	errorRateInsight    = string(types.InsightTypeApiErrorRateInsight)
	fillWithZeros       = types.InsightsMetricDataTypeFillWithZeros
)

// listInsightsData lists the Insights events on the data events of a trail.
// Those on management events are LookupEvents' (API reference,
// "ListInsightsData").
func (s *api) listInsightsData(ctx context.Context, c *call.Call, in *sdk.ListInsightsDataInput) (*sdk.ListInsightsDataOutput, error) {
	if in.StartTime != nil && in.EndTime != nil && in.StartTime.After(*in.EndTime) {
		return nil, invalid("InvalidParameterException", "The start time must be before the end time.")
	}
	t := s.trails.Trail(str(in.InsightSource))
	if t == nil || t.Account != c.AccountID {
		return nil, invalid("InvalidParameterException", "The InsightSource %s is not the ARN of a trail of this account.", str(in.InsightSource))
	}
	q := history.Query{Account: c.AccountID, Region: c.Region, Insights: true, Trail: t.ARN(), Token: str(in.NextToken)}
	if len(in.Dimensions) > 1 {
		return nil, invalid("InvalidParameterException", "Dimensions can contain only one item.")
	}
	for name, value := range in.Dimensions {
		switch name {
		case string(types.ListInsightsDataDimensionKeyEventId), string(types.ListInsightsDataDimensionKeyEventName), string(types.ListInsightsDataDimensionKeyEventSource):
		default:
			return nil, invalid("InvalidParameterException", "The dimension %s is not valid. Valid values: EventId, EventName, EventSource.", name)
		}
		q.Attribute, q.Value = history.Attribute(name), value
	}
	if in.StartTime != nil {
		q.Start = *in.StartTime
	}
	if in.EndTime != nil {
		q.End = *in.EndTime
	}
	if in.MaxResults != nil {
		q.Max = int(*in.MaxResults)
	}
	events, next, err := s.eventPage(ctx, q, "InvalidParameterException")
	if err != nil {
		return nil, err
	}
	return &sdk.ListInsightsDataOutput{Events: events, NextToken: next}, nil
}

// insightsMetricPermissions: access is linked to that of looking events up and,
// for a trail's data events, to ListInsightsData (API reference,
// "ListInsightsMetricData").
func insightsMetricPermissions(c *call.Call, in *sdk.ListInsightsMetricDataInput) ([]call.Permission, error) {
	name := str(in.TrailName)
	if name == "" {
		return []call.Permission{{Action: "cloudtrail:LookupEvents", Resource: "*"}}, nil
	}
	if !strings.HasPrefix(name, "arn:") {
		name = trail.ARN(c.AccountID, c.Region, name)
	}
	return []call.Permission{{Action: "cloudtrail:LookupEvents", Resource: name}, {Action: "cloudtrail:ListInsightsData", Resource: name}}, nil
}

func (s *api) listInsightsMetricData(ctx context.Context, c *call.Call, in *sdk.ListInsightsMetricDataInput) (*sdk.ListInsightsMetricDataOutput, error) {
	rate := string(in.InsightType) == rateInsight
	period := int32(defaultMetricPeriod)
	if in.Period != nil {
		period = *in.Period
	}
	now := s.trails.Now()
	q := insights.Metric{Key: insights.Key{Account: c.AccountID, Region: c.Region, Type: string(in.InsightType), Source: str(in.EventSource),
		Name: str(in.EventName), Code: str(in.ErrorCode)}, From: now.AddDate(0, 0, -insightsEventDays), To: now,
		Period: time.Duration(period) * time.Second, Zeros: in.DataType == fillWithZeros, Max: maxInsightPoints}
	if in.StartTime != nil {
		q.From = *in.StartTime
	}
	if in.EndTime != nil {
		q.To = *in.EndTime
	}
	if in.MaxResults != nil {
		q.Max = int(*in.MaxResults)
	}
	switch {
	case rate && q.Code != "":
		return nil, invalid("InvalidParameterException", "ErrorCode can be given with the insight type ApiErrorRateInsight only.")
	case !rate && q.Code == "":
		return nil, invalid("InvalidParameterException", "ErrorCode is required with the insight type ApiErrorRateInsight.")
	case !q.From.Before(q.To):
		return nil, invalid("InvalidParameterException", "The start time must be before the end time.")
	case period != 60 && period != 300 && period != 3600:
		return nil, invalid("InvalidParameterException", "Period must be 60, 300 or 3600 seconds.")
	}
	out := &sdk.ListInsightsMetricDataOutput{EventSource: in.EventSource, EventName: in.EventName, InsightType: in.InsightType, ErrorCode: in.ErrorCode,
		Timestamps: []time.Time{}, Values: []float64{}}
	if in.TrailName != nil {
		t, err := s.findTrail(c, *in.TrailName)
		if err != nil {
			return nil, metricTrail(err)
		}
		q.Trail = t.ARN()
		if t.Settings.WantsInsight(rateInsight, record.OnData) || t.Settings.WantsInsight(errorRateInsight, record.OnData) {
			out.TrailARN = new(t.ARN())
		}
	}
	belongs := strings.Join([]string{q.Trail, q.Type, q.Source, q.Name, q.Code, strconv.Itoa(int(period))}, "\x00")
	if in.NextToken != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*in.NextToken)
		text, ours := strings.CutPrefix(string(raw), belongs+"\x00")
		at, nerr := strconv.ParseInt(text, 10, 64)
		if err != nil || !ours || nerr != nil {
			return nil, invalid("InvalidParameterException", "The NextToken is not valid, or the parameters differ from those of the request that it came from.")
		}
		q.From = time.Unix(at, 0)
	}
	// Who called a moment ago finds it counted.
	if err := s.insights.WaitFor(ctx, s.insights.Head()); err != nil {
		return nil, err
	}
	points, next, err := s.insights.Points(q)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		out.Timestamps, out.Values = append(out.Timestamps, p.Time), append(out.Values, p.Value)
	}
	if !next.IsZero() {
		out.NextToken = new(base64.RawURLEncoding.EncodeToString([]byte(belongs + "\x00" + strconv.FormatInt(next.Unix(), 10))))
	}
	return out, nil
}

// metricTrail gives a trail that is not there the operation's own exception:
// its model has no TrailNotFoundException.
func metricTrail(err error) error {
	e := aws.AsError(err)
	if e.Code == "TrailNotFoundException" || e.Code == "CloudTrailARNInvalidException" {
		return invalid("InvalidParameterException", "%s", e.Message)
	}
	return err
}
