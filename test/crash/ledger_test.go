package crash

import (
	"encoding/json"
	"errors"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// ledger is the clients' own list.
type ledger struct {
	mu sync.Mutex
	// calls are the acknowledged HTTP calls by request id.
	calls map[string]acknowledged
	// rows are the acknowledged keys by table; denied counts refused statements,
	// tried those that were sent.
	rows          map[string][]int
	denied, tried int
	queries       []string          // named query ids
	objects       map[string]string // key → body; "" when its deletion was acknowledged
	unsure        map[string]bool   // objects whose last change failed or was not acknowledged
	users         []string
	audits        map[string]bool // id → acknowledged
}

// acknowledged is a call whose answer came.
type acknowledged struct {
	name       string
	management bool
	code       string // of the error that was answered, or ""
}

func newLedger() *ledger {
	return &ledger{calls: map[string]acknowledged{}, rows: map[string][]int{}, objects: map[string]string{}, unsure: map[string]bool{}, audits: map[string]bool{}}
}

// note writes a call down once its answer is there. ok is false when there was
// none: the server is gone. also runs under the lock when the call succeeded.
func (l *ledger) note(name string, management bool, meta middleware.Metadata, err error, also func()) (ok bool) {
	id, _ := awsmiddleware.GetRequestIDMetadata(meta)
	a := acknowledged{name: name, management: management}
	if err != nil {
		var re *awshttp.ResponseError
		var api smithy.APIError
		if !errors.As(err, &re) || !errors.As(err, &api) || re.ServiceRequestID() == "" {
			return false
		}
		id, a.code = re.ServiceRequestID(), api.ErrorCode()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[id] = a
	if err == nil && also != nil {
		also()
	}
	return true
}

// event is what the oracle reads of a record.
type event struct {
	EventID           string
	EventName         string
	EventSource       string
	EventTime         string
	RequestID         string
	ErrorCode         string
	ManagementEvent   bool
	RequestParameters struct{ KeyspaceName, TableName, Key, Name, UserName, UploadID string }

	raw string
}

func parseEvent(raw []byte) (event, error) {
	e := event{raw: string(raw)}
	err := json.Unmarshal(raw, &e)
	return e, err
}

// logFile is a delivered file, by what its metadata says.
type logFile struct {
	key         string
	first, last uint64
	records     int
}

// evidence is all that is known at the end of a run.
type evidence struct {
	ledger *ledger
	// begun and stopped are the event times between which the trail logged.
	begun, stopped string

	delivered []event
	files     []logFile // of the region, by key
	lake      []event
	looked    []event // as LookupEvents gave them
	named     []event // the same by the name of one event
	tailed    []line
	audits    []string       // ids in the store of outside events
	rows      map[string]int // found by table
	announced map[string]int // delivered files that SNS messages named, by key
	// What Athena counts in the table over the bucket, events and distinct ids:
	// with the columnar twins of log files that it has by then, and without any.
	athena, plain [2]int
}

// line is a line of the live stream.
type line struct {
	seq uint64
	id  string
}
