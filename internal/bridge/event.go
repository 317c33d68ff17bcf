package bridge

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"time"

	"spoor/internal/journal"
	"spoor/internal/record"
)

// maxEvent is the largest event that CloudTrail sends to EventBridge, in bytes
// (CloudTrail User Guide, "Quotas").
const maxEvent = 256 << 10

// States of a rule (EventBridge API reference, Rule).
const (
	Enabled     = "ENABLED"
	EnabledRead = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
	Disabled    = "DISABLED"
)

// event is a record on its way to be an EventBridge event.
type event struct {
	item       *journal.Item
	detailType string
	eventName  string
	read       bool // reaches rules in state EnabledRead only
}

// known are the paths of an event that decide most records without making it;
// event.known has their values.
var known = []string{"source", "detail-type", "account", "region", "detail.eventName"}

func (e *event) known(path int) string {
	switch path {
	case 0:
		return e.source()
	case 1:
		return e.detailType
	case 2:
		return e.item.Field(record.FieldAccount)
	case 3:
		return e.item.Field(record.FieldRegion)
	}
	return e.eventName
}

// detailTypes are the detail types by the record's eventType. A sign-in's is
// written as EventBridge sends it, not as its guide has it ("Signin").
var detailTypes = map[string]string{
	"AwsApiCall":           "AWS API Call via CloudTrail",
	"AwsServiceEvent":      "AWS Service Event via CloudTrail",
	"AwsConsoleAction":     "AWS Console Action via CloudTrail",
	"AwsConsoleSignIn":     "AWS Console Sign In via CloudTrail",
	"AwsCloudTrailInsight": "AWS Insight via CloudTrail",
}

// describe reads what decides about an event; it is false for records that
// CloudTrail sends to EventBridge in no case.
func (e *event) describe() bool {
	eventType := "AwsApiCall"
	if !e.item.Is(record.FieldEventType, eventType) {
		eventType = e.item.Field(record.FieldEventType)
	}
	var ok bool
	if e.detailType, ok = detailTypes[eventType]; !ok {
		return false
	}
	e.eventName = e.item.Field(record.FieldEventName)
	e.read = e.item.Category == record.Management && e.item.ReadOnly && readByName(e.eventName)
	return true
}

// source is the event's source: the record's eventSource in EventBridge's form.
func (e *event) source() string {
	if e.detailType == detailTypes["AwsCloudTrailInsight"] {
		return "aws.cloudtrail"
	}
	service, _, _ := strings.Cut(e.item.Field(record.FieldEventSource), ".")
	return "aws." + service
}

// readByName reports whether EventBridge counts a read-only call among those
// that most rules do not get. It goes by the name's begin, so that AssumeRole,
// for one, reaches every rule (EventBridge User Guide, "Receiving read-only
// management events from AWS services").
func readByName(name string) bool {
	if name == "GetFederationToken" || name == "GetSessionToken" {
		return false
	}
	return strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe")
}

// append writes the whole event.
func (e *event) append(dst []byte, id string) []byte {
	it := e.item
	str := func(key, value string) {
		dst = append(append(append(dst, '"'), key...), '"', ':')
		dst = append(record.AppendString(dst, value), ',')
	}
	dst = append(dst, '{')
	str("version", "0")
	str("id", id)
	str("detail-type", e.detailType)
	str("source", e.source())
	str("account", it.Field(record.FieldAccount))
	str("time", it.Time.UTC().Format(time.RFC3339))
	str("region", it.Field(record.FieldRegion))
	dst = append(dst, `"resources":[],"detail":`...)
	return append(append(dst, it.JSON...), '}')
}

// namespace is that of the ids, a random UUID of this package.
var namespace = []byte("\x5c\x0e\x7a\x1b\x93\xd4\x4f\x2e\x8a\x61\x0d\xf7\x24\xbb\x98\x3c")

// nameID is the UUID that names stand for (RFC 9562, version 5), so that what
// is sent again has the same one.
func nameID(names ...string) string {
	var on [256]byte
	b := append(on[:0], namespace...)
	for i, n := range names {
		if i > 0 {
			b = append(b, 0)
		}
		b = append(b, n...)
	}
	sum := sha1.Sum(b)
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	var out [36]byte
	at := 0
	for i, n := range []int{4, 2, 2, 2, 6} {
		if i > 0 {
			out[at] = '-'
			at++
		}
		from := []int{0, 4, 6, 8, 10}[i]
		at += hex.Encode(out[at:], sum[from:from+n])
	}
	return string(out[:])
}
