// Package record is the CloudTrail record: its fields, its JSON form, its size
// limits and its masks.
//
// It stands between handle and journal in a call's path. A record is encoded
// once, here, into the very bytes that the journal keeps and that history, log
// files and tail hand on. The package is pure: no clock, no store, no
// reflection on the way of a CQL statement.
//
// Fields and limits follow the CloudTrail user guide, "CloudTrail record
// contents" for eventVersion 1.11.
package record

import (
	"time"

	"spoor/internal/aws"
)

// EventVersion is the record format that this server writes.
const EventVersion = "1.11"

// Limits of the CloudTrail record, in bytes.
const (
	MaxUserAgent         = 1 << 10   // truncated
	MaxErrorCode         = 1 << 10   // truncated
	MaxErrorMessage      = 1 << 10   // truncated
	MaxRequestID         = 1 << 10   // truncated
	MaxRequestParameters = 100 << 10 // content omitted
	MaxResponseElements  = 100 << 10 // content omitted
	MaxAdditionalData    = 28 << 10  // content omitted
	MaxEvent             = 256 << 10 // whole event
	omittedContent       = `{"omitted":true}`
	ReasonHidden         = "HIDDEN_DUE_TO_SECURITY_REASONS"
	Omitted              = "***OMITTED***"
	anonymousAccount     = "anonymous"
	ParameterTime        = "Jan 2, 2006, 3:04:05 PM" // times inside requestParameters
	typeAPICall          = "AwsApiCall"
	eventTimeLayout      = "2006-01-02T15:04:05Z"
)

// Category is a record's eventCategory.
type Category uint8

const (
	Management Category = iota
	Data
	NetworkActivity
	Insight
	Aggregated
)

var categoryNames = [...]string{"Management", "Data", "NetworkActivity", "Insight", "Aggregated"}

func (c Category) String() string { return categoryNames[c] }

// Resource is an element of a record's resources.
type Resource struct {
	Type      string // "AWS::Cassandra::Table"
	ARN       string
	AccountID string
}

// TLS is a record's tlsDetails; nil for a call without TLS.
type TLS struct {
	Version     string // "TLSv1.3"
	CipherSuite string
	Host        string // clientProvidedHostHeader
	KeyExchange string // "X25519MLKEM768", or empty
}

// Record is one event on its way to the journal. Strings are given raw; the
// encoder escapes, truncates and omits.
type Record struct {
	Category Category
	ReadOnly bool
	// Caller is the identity. Identity may hold its encoded form (see
	// EncodeIdentity), so that a connection encodes it once.
	Caller   *aws.Caller
	Identity *Identity

	EventTime   time.Time
	EventSource string
	EventName   string
	EventType   string // empty means AwsApiCall
	EventID     string
	RequestID   string
	Region      string
	AccountID   string // recipientAccountId
	SourceIP    string
	UserAgent   string
	APIVersion  string

	ErrorCode    string
	ErrorMessage string

	// JSON objects, or nil for null.
	RequestParameters   []byte
	ResponseElements    []byte
	AdditionalEventData []byte
	ServiceEventDetails []byte

	Resources     []Resource
	SharedEventID string
	TLS           *TLS
}

// Reset makes r ready for the next event and keeps its buffers.
func (r *Record) Reset() {
	*r = Record{
		RequestParameters: r.RequestParameters[:0],
		Resources:         r.Resources[:0],
	}
}
