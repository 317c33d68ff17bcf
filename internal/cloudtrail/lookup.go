package cloudtrail

import (
	"context"
	"errors"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/history"
	"spoor/internal/record"
)

func (s *api) lookupOperations() []call.Operation {
	return []call.Operation{
		call.Op("LookupEvents", onAll[sdk.LookupEventsInput]("LookupEvents"), s.lookupEvents, call.ReadOnly),
		call.Op("ListPublicKeys", onAll[sdk.ListPublicKeysInput]("ListPublicKeys"), handle(s.listPublicKeys), call.ReadOnly),
	}
}

func (s *api) lookupEvents(ctx context.Context, c *call.Call, in *sdk.LookupEventsInput) (*sdk.LookupEventsOutput, error) {
	q := history.Query{Account: c.AccountID, Region: c.Region, Token: str(in.NextToken), Insights: in.EventCategory == types.EventCategoryInsight}
	if len(in.LookupAttributes) > 1 {
		return nil, invalid("InvalidLookupAttributesException", "You can only specify one lookup attribute at a time.")
	}
	for _, a := range in.LookupAttributes {
		q.Attribute, q.Value = history.Attribute(a.AttributeKey), str(a.AttributeValue)
		if q.Insights && !slices.Contains([]history.Attribute{history.ByEventID, history.ByEventName, history.ByEventSource}, q.Attribute) {
			return nil, invalid("InvalidLookupAttributesException", "Insights events can be looked up by EventId, EventName and EventSource only.")
		}
	}
	if in.StartTime != nil {
		q.Start = *in.StartTime
	}
	if in.EndTime != nil {
		q.End = *in.EndTime
	}
	if in.StartTime != nil && in.EndTime != nil && in.StartTime.After(*in.EndTime) {
		return nil, invalid("InvalidTimeRangeException", "The start time must be before the end time.")
	}
	if in.MaxResults != nil {
		q.Max = int(*in.MaxResults)
	}
	events, next, err := s.eventPage(ctx, q, "InvalidNextTokenException")
	if err != nil {
		return nil, err
	}
	return &sdk.LookupEventsOutput{Events: events, NextToken: next}, nil
}

// eventPage is a page of event history; badToken is the operation's error for
// a token that is not its own.
func (s *api) eventPage(ctx context.Context, q history.Query, badToken string) ([]types.Event, *string, error) {
	page, err := s.history.Lookup(ctx, q)
	if errors.Is(err, history.ErrToken) {
		return nil, nil, &aws.Error{Op: "cloudtrail.eventPage", Kind: aws.Invalid, Code: badToken, Err: err,
			Message: "The NextToken is not valid, or the parameters differ from those of the request that it came from."}
	}
	if err != nil {
		return nil, nil, err
	}
	events := make([]types.Event, 0, len(page.Items))
	for i := range page.Items {
		events = append(events, sdkEvent(&page.Items[i].Entry))
	}
	return events, optional(page.Next), nil
}

// sdkEvent shows an event as LookupEvents does. A resource is listed by ARN and
// by name, both of which it is found by.
func sdkEvent(e *record.Entry) types.Event {
	if e.Category == record.Insight { // nobody's call, and of no resource
		return types.Event{EventId: new(e.Field(record.FieldEventID)), EventName: new(e.Field(record.FieldEventName)),
			EventSource: new(e.Field(record.FieldEventSource)), EventTime: new(e.Time.Truncate(time.Second)), CloudTrailEvent: new(string(e.JSON)),
			Resources: []types.Resource{}}
	}
	readOnly := "false"
	if e.ReadOnly {
		readOnly = "true"
	}
	out := types.Event{
		EventId: new(e.Field(record.FieldEventID)), EventName: new(e.Field(record.FieldEventName)), EventSource: new(e.Field(record.FieldEventSource)),
		EventTime: new(e.Time.Truncate(time.Second)), ReadOnly: &readOnly, Username: optional(history.Username(e)),
		AccessKeyId: optional(e.Field(record.FieldAccessKey)), CloudTrailEvent: new(string(e.JSON)), Resources: []types.Resource{},
	}
	e.Resources(func(typ, arn string) {
		out.Resources = append(out.Resources, types.Resource{ResourceType: optional(typ), ResourceName: &arn})
		if name := history.BareName(arn); name != arn {
			out.Resources = append(out.Resources, types.Resource{ResourceType: optional(typ), ResourceName: &name})
		}
	})
	return out
}

// listPublicKeys gives all keys of a range in one page: AWS's own validator
// ignores NextToken.
func (s *api) listPublicKeys(c *call.Call, in *sdk.ListPublicKeysInput) (*sdk.ListPublicKeysOutput, error) {
	if str(in.NextToken) != "" {
		return nil, invalid("InvalidTokenException", "The token is not valid.")
	}
	from, to := s.trails.Now(), s.trails.Now()
	if in.StartTime != nil {
		from = *in.StartTime
	}
	if in.EndTime != nil {
		to = *in.EndTime
	}
	if from.After(to) {
		return nil, invalid("InvalidTimeRangeException", "The start time must be before the end time.")
	}
	keys, err := s.trails.PublicKeys(c.Region, from, to)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListPublicKeysOutput{PublicKeyList: []types.PublicKey{}}
	for i := range keys {
		k := &keys[i]
		out.PublicKeyList = append(out.PublicKeyList, types.PublicKey{
			Fingerprint: &k.Fingerprint, Value: k.Value, ValidityStartTime: &k.Start, ValidityEndTime: &k.End,
		})
	}
	return out, nil
}
