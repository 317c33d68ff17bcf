package cloudtrail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/record"
)

// Limits of PutAuditEvents (CloudTrail Data API reference, and CloudTrail user
// guide, "CloudTrail Lake integrations event schema").
const (
	maxAuditBytes   = 1 << 20 // of all events of a call
	maxShortText    = 256
	maxTypeText     = 128
	maxLongText     = 1024
	maxObjectBytes  = 100 << 10
	maxAdditional   = 28 << 10
	maxChannelARN   = 1600
	auditVersion    = "1.0"
	activityLogType = "ActivityLog"
)

// DataService is AWS CloudTrail's data service, which takes the events of
// outside sources, as the HTTP listener serves it.
func DataService(c Config) *call.Service {
	s := newAPI(c)
	return &call.Service{
		Name: "cloudtrail-data", EventSource: "cloudtrail-data.amazonaws.com", APIVersion: "2021-08-11", Protocol: call.RESTJSON, LowerCamel: true,
		Operations: []call.Operation{call.Op("PutAuditEvents", func(c *call.Call, in *auditInput) ([]call.Permission, error) {
			p, err := s.channelPermission(c, "cloudtrail-data:PutAuditEvents", str(in.ChannelArn))
			if in.ExternalId != nil {
				if p.Context == nil {
					p.Context = map[string][]string{}
				}
				p.Context["cloudtrail:externalid"] = []string{*in.ExternalId}
			}
			return []call.Permission{p}, err
		}, s.putAuditEvents, func(o *call.Operation) { o.Data = true },
			call.Omit("AuditEvents"), call.At("/PutAuditEvents", "channelArn", "externalId"),
			call.Describe(func(c *call.Call, in *auditInput, _ *auditOutput, _ error, r *record.Record) {
				if arn := channelARN(c, str(in.ChannelArn)); len(arn) <= maxChannelARN {
					r.Resources = append(r.Resources, record.Resource{Type: channelType, ARN: arn, AccountID: ownerOf(c, arn)})
				}
			}))},
	}
}

// The shapes of the data service's one operation (API 2021-08-11).
type (
	auditInput struct {
		AuditEvents []auditEvent
		ChannelArn  *string
		ExternalId  *string
	}
	auditEvent struct {
		EventData         *string
		EventDataChecksum *string
		Id                *string
	}
	auditOutput struct {
		Failed     []auditFailure
		Successful []auditSuccess
	}
	auditFailure struct{ ErrorCode, ErrorMessage, Id *string }
	auditSuccess struct {
		EventID *string
		Id      *string
	}
)

// putAuditEvents takes the events of an outside source. The events become
// durable with the call's own record.
func (s *api) putAuditEvents(_ context.Context, c *call.Call, in *auditInput) (*auditOutput, error) {
	x, err := s.findChannel(c, str(in.ChannelArn))
	if e := aws.AsError(err); err != nil {
		switch e.Code {
		case "ChannelNotFoundException":
			err = &aws.Error{Op: "cloudtrail-data.PutAuditEvents", Kind: aws.NotFound, Code: "ChannelNotFound", Message: "The channel could not be found."}
		case "ChannelARNInvalidException":
			err = invalid("InvalidChannelARN", "The specified channel ARN is not a valid channel ARN.")
		}
		return nil, err
	}
	if err := checkAuditRequest(in.AuditEvents); err != nil {
		return nil, err
	}
	var stores []*lake.Store
	for _, arn := range x.Stores {
		if st := s.lake.Lookup(arn); st != nil && st.Deleted.IsZero() && st.Settings.Ingesting {
			stores = append(stores, st)
		}
	}
	now := s.lake.Now()
	status, err := ingestions.get(s.store, x.Account, x.Region, x.ID)
	if err != nil {
		return nil, err
	}
	if status == nil {
		status = &ingestion{}
	}
	out := &auditOutput{Failed: []auditFailure{}, Successful: []auditSuccess{}}
	for i := range in.AuditEvents {
		e := &in.AuditEvents[i]
		status.Attempt, status.AttemptID = now, str(e.Id)
		data, when, fail := checkAuditEvent(e, x.Account)
		id := call.NewID()
		var event []byte
		if fail == nil {
			if event = activityLog(x, id, when, now, data); !lake.Storable(event, when) {
				fail = &auditFault{"InvalidData", "The event data is nested too deeply, or its eventTime is out of range."}
			}
		}
		if fail == nil && len(stores) == 0 {
			fail = &auditFault{"AccountNotSubscribed", "The channel has no event data store that takes events."}
		}
		if fail != nil {
			status.ErrorCode = fail.code
			out.Failed = append(out.Failed, auditFailure{&fail.code, &fail.message, e.Id})
			continue
		}
		status.Success, status.SuccessID, status.ErrorCode = now, id, ""
		for _, st := range stores {
			s.lake.Append(c, st, when, lake.FromChannel, uuidBytes(id), event)
		}
		out.Successful = append(out.Successful, auditSuccess{&id, e.Id})
	}
	return out, ingestions.put(c, status, x.Account, x.Region, x.ID)
}

func uuidBytes(id string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil { // ids are this program's own
		panic("cloudtrail: " + err.Error())
	}
	return b
}

// checkAuditRequest makes the checks that fail a whole request.
func checkAuditRequest(events []auditEvent) error {
	size := 0
	seen := map[string]bool{}
	for i := range events {
		id := str(events[i].Id)
		if seen[id] {
			return invalid("DuplicatedAuditEventId", "Two or more entries in the request have the same event ID.")
		}
		seen[id] = true
		size += len(str(events[i].EventData))
	}
	if size > maxAuditBytes {
		return &aws.Error{Op: "cloudtrail-data.PutAuditEvents", Kind: aws.TooLarge, Code: "RequestEntityTooLargeException", Status: 413,
			Message: "The events of the request are larger than 1 MB."}
	}
	return nil
}

type auditFault struct{ code, message string }

// auditData are the fields of eventData with rules of their own.
type auditData struct {
	Version      *string `json:"version"`
	UserIdentity *struct {
		Type        *string         `json:"type"`
		PrincipalID *string         `json:"principalId"`
		Details     json.RawMessage `json:"details"`
	} `json:"userIdentity"`
	UserAgent           *string         `json:"userAgent"`
	EventSource         *string         `json:"eventSource"`
	EventName           *string         `json:"eventName"`
	EventTime           *string         `json:"eventTime"`
	UID                 *string         `json:"UID"`
	RequestParameters   json.RawMessage `json:"requestParameters"`
	ResponseElements    json.RawMessage `json:"responseElements"`
	ErrorCode           *string         `json:"errorCode"`
	ErrorMessage        *string         `json:"errorMessage"`
	SourceIPAddress     *string         `json:"sourceIPAddress"`
	RecipientAccountID  *string         `json:"recipientAccountId"`
	AdditionalEventData json.RawMessage `json:"additionalEventData"`
}

// checkAuditEvent checks one event against the schema of integrations. It
// returns the event as it was given, without needless space, and its time.
func checkAuditEvent(e *auditEvent, account string) (data []byte, when time.Time, fault *auditFault) {
	raw := str(e.EventData)
	if e.EventDataChecksum != nil {
		sum := sha256.Sum256([]byte(raw))
		if base64.StdEncoding.EncodeToString(sum[:]) != *e.EventDataChecksum {
			return nil, when, &auditFault{"InvalidChecksum", "The checksum does not match the event data."}
		}
	}
	var d auditData
	if err := json.Unmarshal([]byte(raw), &d); err != nil || !unambiguous([]byte(raw), auditMembers) {
		return nil, when, &auditFault{"InvalidData", "The event data is not a JSON object of the event schema."}
	}
	if f := checkAuditTexts(&d); f != nil {
		return nil, when, f
	}
	for _, o := range []struct {
		name string
		raw  json.RawMessage
		most int
	}{{"userIdentity.details", d.UserIdentity.Details, maxObjectBytes}, {"requestParameters", d.RequestParameters, maxObjectBytes},
		{"responseElements", d.ResponseElements, maxObjectBytes}, {"additionalEventData", d.AdditionalEventData, maxAdditional}} {
		if len(o.raw) > o.most {
			return nil, when, &auditFault{"FieldTooLong", "The field " + o.name + " is too long."}
		}
		if t := strings.TrimSpace(string(o.raw)); t != "" && t != "null" && t[0] != '{' {
			return nil, when, &auditFault{"InvalidData", "The field " + o.name + " is not a JSON object."}
		}
	}
	when, err := time.Parse(time.RFC3339, *d.EventTime)
	switch {
	case err != nil:
		return nil, when, &auditFault{"InvalidData", "The field eventTime is not a time in the form yyyy-MM-DDTHH:mm:ssZ."}
	case *d.RecipientAccountID != account:
		return nil, when, &auditFault{"InvalidRecipient", "The recipientAccountId is not the account of the channel."}
	case strings.HasSuffix(*d.EventSource, ".amazonaws.com"):
		return nil, when, &auditFault{"InvalidEventSource", "The eventSource must not be that of an AWS service."}
	}
	var v json.RawMessage = []byte(raw)
	data, err = json.Marshal(v)
	if err != nil {
		return nil, when, &auditFault{"InvalidData", "The event data is not valid JSON."}
	}
	return data, when.UTC(), nil
}

// auditMembers are the members of auditData, identityMembers those of its
// userIdentity.
var (
	auditMembers    = memberNames(reflect.TypeFor[auditData]())
	identityMembers = memberNames(reflect.TypeFor[auditData]().Field(1).Type.Elem())
)

func memberNames(t reflect.Type) (out []string) {
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("json"))
	}
	return out
}

// unambiguous reports whether an event, valid JSON, gives each member of the
// schema once and as the schema spells it. Readers find members whatever their
// case: of two they could see another than was checked here.
func unambiguous(event []byte, members []string) bool {
	d := json.NewDecoder(bytes.NewReader(event))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return false
		}
		if !slices.ContainsFunc(members, func(m string) bool { return strings.EqualFold(m, name) }) {
			continue
		}
		if seen[name] || !slices.Contains(members, name) || name == "userIdentity" && len(value) > 0 && value[0] == '{' && !unambiguous(value, identityMembers) {
			return false
		}
		seen[name] = true
	}
	return true
}

func checkAuditTexts(d *auditData) *auditFault {
	if d.UserIdentity == nil {
		return &auditFault{"FieldNotFound", "The field userIdentity is required."}
	}
	for _, f := range []struct {
		name     string
		value    *string
		required bool
		most     int
	}{
		{"version", d.Version, true, maxShortText}, {"userIdentity.type", d.UserIdentity.Type, true, maxTypeText},
		{"userIdentity.principalId", d.UserIdentity.PrincipalID, true, maxLongText}, {"userAgent", d.UserAgent, false, maxLongText},
		{"eventSource", d.EventSource, true, maxShortText}, {"eventName", d.EventName, true, maxLongText}, {"eventTime", d.EventTime, true, maxShortText},
		{"UID", d.UID, true, maxLongText}, {"errorCode", d.ErrorCode, false, maxLongText}, {"errorMessage", d.ErrorMessage, false, maxShortText},
		{"sourceIPAddress", d.SourceIPAddress, false, maxShortText}, {"recipientAccountId", d.RecipientAccountID, true, maxShortText},
	} {
		switch {
		case f.required && str(f.value) == "":
			return &auditFault{"FieldNotFound", "The field " + f.name + " is required."}
		case f.value != nil && utf8.RuneCountInString(*f.value) > f.most:
			return &auditFault{"FieldTooLong", "The field " + f.name + " is too long."}
		}
	}
	return nil
}

// activityLog is the record of an outside event (CloudTrail user guide,
// "CloudTrail Lake integrations event schema").
func activityLog(x *channel, id string, when, now time.Time, data []byte) []byte {
	const layout = "2006-01-02T15:04:05Z"
	b := append([]byte(nil), `{"eventVersion":"`+auditVersion+`","eventCategory":"`+activityCategory+`","eventType":"`+activityLogType+`","eventID":"`+id+`"`...)
	b = append(b, `,"eventTime":"`+when.Format(layout)+`","awsRegion":"`+x.Region+`","recipientAccountId":"`+x.Account+`"`...)
	b = append(b, `,"metadata":{"ingestionTime":"`+now.Format(layout)+`","channelARN":`...)
	b = record.AppendString(b, x.arn())
	b = append(b, `},"eventData":`...)
	return append(append(b, data...), '}')
}
