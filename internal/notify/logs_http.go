package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/aws"
)

// Limits of PutLogEvents (CloudWatch Logs API reference).
const (
	maxLogBatchBytes  = 1 << 20
	logEventOverhead  = 26
	maxLogBatchEvents = 10_000
	maxLogBatchSpan   = 24 * time.Hour
)

// logsClient puts events into a log group by CloudWatch Logs' JSON API. It makes
// group and stream where they are missing.
type logsClient struct {
	group, region string
	endpoint      string
	client        *http.Client
	credentials   *Credentials // nil: requests are not signed
	signer        *v4.Signer
	now           func() time.Time
}

func newLogsClient(g *LogGroup, group string, now func() time.Time) (*logsClient, error) {
	arn, err := aws.ParseARN(g.ARN)
	if err != nil {
		return nil, err
	}
	c := &logsClient{group: group, region: arn.Region, endpoint: g.Endpoint, credentials: g.Credentials, signer: v4.NewSigner(), now: now}
	if c.client, err = NewClient(g.CA); err != nil {
		return nil, err
	}
	_, err = c.credentials.Read() // a wrong name shows at the start
	return c, err
}

type inputLogEvent struct {
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
	index     int    // in the batch
}

type putLogEvents struct {
	Group  string          `json:"logGroupName"`
	Stream string          `json:"logStreamName"`
	Events []inputLogEvent `json:"logEvents"`
}

// rejection is what PutLogEvents says of events that it did not take: those
// before an end and those from a start on.
type rejection struct {
	TooNew  *int `json:"tooNewLogEventStartIndex"`
	TooOld  *int `json:"tooOldLogEventEndIndex"`
	Expired *int `json:"expiredLogEventEndIndex"`
}

// of lists the batch's indexes of the events that were rejected.
func (r *rejection) of(events []inputLogEvent) []int {
	if r == nil {
		return nil
	}
	begin, end := 0, len(events)
	for _, n := range []*int{r.TooOld, r.Expired} {
		if n != nil {
			begin = max(begin, min(*n, len(events)))
		}
	}
	if r.TooNew != nil {
		end = min(max(*r.TooNew, begin), len(events))
	}
	var out []int
	for i := range events {
		if i < begin || i >= end {
			out = append(out, events[i].index)
		}
	}
	return out
}

// send puts a batch, stream after stream. It is acknowledged when all of it is.
func (c *logsClient) send(ctx context.Context, batch []Message) error {
	var streams []string
	events := map[string][]inputLogEvent{}
	for i := range batch {
		m := &batch[i]
		stream := m.Attributes[AttrLogStream]
		if events[stream] == nil {
			streams = append(streams, stream)
		}
		events[stream] = append(events[stream], inputLogEvent{m.Time.UnixMilli(), string(m.Body), i})
	}
	var rejected []int
	for _, stream := range streams {
		for _, part := range splitEvents(events[stream]) {
			not, err := c.put(ctx, putLogEvents{c.group, stream, part})
			if err != nil {
				return err
			}
			rejected = append(rejected, not.of(part)...)
		}
	}
	if len(rejected) > 0 {
		slices.Sort(rejected)
		return &RejectedError{rejected, "the log group rejects the event as too old or too new"}
	}
	return nil
}

// splitEvents orders events by time, as PutLogEvents demands, and divides them
// by its limits.
func splitEvents(events []inputLogEvent) [][]inputLogEvent {
	slices.SortStableFunc(events, func(a, b inputLogEvent) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	var out [][]inputLogEvent
	begin, size := 0, 0
	for i, e := range events {
		n := len(e.Message) + logEventOverhead
		if i > begin && (size+n > maxLogBatchBytes || i-begin == maxLogBatchEvents || e.Timestamp-events[begin].Timestamp > maxLogBatchSpan.Milliseconds()) {
			out = append(out, events[begin:i])
			begin, size = i, 0
		}
		size += n
	}
	return append(out, events[begin:])
}

func (c *logsClient) put(ctx context.Context, in putLogEvents) (*rejection, error) {
	body, err := c.call(ctx, "PutLogEvents", in)
	if errorCode(err) == "ResourceNotFoundException" {
		if err := c.make(ctx, in.Stream); err != nil {
			return nil, err
		}
		body, err = c.call(ctx, "PutLogEvents", in)
	}
	if errorCode(err) == "InvalidParameterException" {
		err = errors.Join(err, ErrPermanent) // of events such as these
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Rejected *rejection `json:"rejectedLogEventsInfo"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the answer to PutLogEvents is not JSON: %w", err)
	}
	return answer.Rejected, nil
}

// make makes the group, if it is missing, and the stream.
func (c *logsClient) make(ctx context.Context, stream string) error {
	in := map[string]string{"logGroupName": c.group, "logStreamName": stream}
	err := c.exists(ctx, "CreateLogStream", in)
	if errorCode(err) != "ResourceNotFoundException" {
		return err
	}
	if err := c.exists(ctx, "CreateLogGroup", map[string]string{"logGroupName": c.group}); err != nil {
		return err
	}
	return c.exists(ctx, "CreateLogStream", in)
}

func (c *logsClient) exists(ctx context.Context, operation string, in any) error {
	_, err := c.call(ctx, operation, in)
	if errorCode(err) == "ResourceAlreadyExistsException" {
		return nil
	}
	return err
}

func errorCode(err error) string {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return ""
}

func (c *logsClient) call(ctx context.Context, operation string, in any) ([]byte, error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(in); err != nil {
		return nil, fmt.Errorf("encoding %s: %w", operation, err)
	}
	sum := sha256.Sum256(body.Bytes())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, &body)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Logs_20140328."+operation)
	secrets, err := c.credentials.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	if secrets.AccessKeyID != "" {
		if err := c.signer.SignHTTP(ctx, secrets, req, hex.EncodeToString(sum[:]), "logs", c.region, c.now()); err != nil {
			return nil, fmt.Errorf("signing a request: %w", err)
		}
	}
	out, err := Do(ctx, c.client, req)
	var status *StatusError
	if errors.As(err, &status) {
		status.Code = awsErrorCode(out)
	}
	return out, err
}

// awsErrorCode is the error's name in an answer of AWS's JSON protocols, "" when
// the answer is none.
func awsErrorCode(body []byte) string {
	var e struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	name := e.Type[strings.LastIndexByte(e.Type, '#')+1:]
	name, _, _ = strings.Cut(name, ":")
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r < '0' || r > 'z' }) {
		return ""
	}
	return name
}
