package bridge

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/notify"
)

// Limits of SendMessageBatch (Amazon SQS API reference).
const (
	maxQueueBatch      = 10
	maxQueueBatchBytes = 256 << 10
)

// queue sends to a queue by SQS's JSON protocol (AWS JSON 1.0).
type queue struct {
	cfg    *SQS
	fifo   bool
	client *http.Client
	sigv4  *v4.Signer
	signer signer
	now    func() time.Time
}

func newQueue(cfg *SQS, now func() time.Time) (destination, int, error) {
	q := &queue{cfg: cfg, fifo: strings.HasSuffix(cfg.URL, ".fifo"), sigv4: v4.NewSigner(), signer: signer{cfg.HMACKeyFile, now}, now: now}
	var err error
	if q.client, err = notify.NewClient(cfg.CA); err != nil {
		return q, 0, err
	}
	if _, err := q.cfg.Credentials.Read(); err != nil {
		return q, 0, err
	}
	return q, maxQueueBatch, q.signer.check()
}

type queueAttribute struct {
	DataType    string
	StringValue string
}

type queueEntry struct {
	ID                     string `json:"Id"`
	MessageBody            string
	MessageAttributes      map[string]queueAttribute `json:",omitempty"`
	MessageGroupID         string                    `json:"MessageGroupId,omitempty"`
	MessageDeduplicationID string                    `json:"MessageDeduplicationId,omitempty"`

	index int
}

type queueInput struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []queueEntry
}

type queueOutput struct {
	Successful []struct {
		ID  string `json:"Id"`
		MD5 string `json:"MD5OfMessageBody"`
	}
	Failed []struct {
		ID          string `json:"Id"`
		Code        string
		SenderFault bool
	}
}

func (q *queue) send(ctx context.Context, batch []notify.Message) []error {
	key, err := q.signer.key()
	if err != nil {
		return all(batch, err)
	}
	creds, err := q.cfg.Credentials.Read()
	if err != nil {
		return all(batch, err)
	}
	results := all(batch, errors.New("the queue said nothing of this message"))
	var part []queueEntry
	size := 0
	flush := func() {
		if len(part) > 0 {
			q.sendPart(ctx, part, creds, results)
		}
		part, size = nil, 0
	}
	for i := range batch {
		e, n := q.entry(&batch[i], i, key)
		if size+n > maxQueueBatchBytes {
			flush()
		}
		part, size = append(part, e), size+n
	}
	flush()
	return results
}

// entry makes a batch's entry, and its size as SQS counts it.
func (q *queue) entry(m *notify.Message, index int, key []byte) (queueEntry, int) {
	e := queueEntry{ID: strconv.Itoa(index), MessageBody: string(m.Body), MessageAttributes: map[string]queueAttribute{}, index: index}
	size := len(m.Body)
	for _, h := range q.signer.headers(m, key) {
		e.MessageAttributes[h.name] = queueAttribute{"String", h.value}
		size += len(h.name) + len("String") + len(h.value)
	}
	if q.fifo {
		e.MessageDeduplicationID = m.ID
		if e.MessageGroupID = q.cfg.MessageGroupID; e.MessageGroupID == "" {
			e.MessageGroupID = m.Attributes[attrAccount]
		}
	}
	return e, size
}

// sendPart sends entries in one request and fills in their results.
func (q *queue) sendPart(ctx context.Context, part []queueEntry, creds sdkaws.Credentials, results []error) {
	out, err := q.call(ctx, queueInput{q.cfg.URL, part}, creds)
	if err != nil {
		for i := range part {
			results[part[i].index] = err
		}
		return
	}
	byID := map[string]*queueEntry{}
	for i := range part {
		byID[part[i].ID] = &part[i]
	}
	for _, done := range out.Successful {
		e := byID[done.ID]
		if e == nil {
			continue
		}
		if sum := md5.Sum([]byte(e.MessageBody)); done.MD5 != hex.EncodeToString(sum[:]) {
			results[e.index] = errors.New("the queue took another body than was sent")
			continue
		}
		results[e.index] = nil
	}
	for _, failed := range out.Failed {
		e := byID[failed.ID]
		if e == nil {
			continue
		}
		err := fmt.Errorf("the queue refuses a message: %.64q", failed.Code)
		if failed.SenderFault && refusedCode(failed.Code) {
			err = fmt.Errorf("%w: %w", notify.ErrPermanent, err)
		}
		results[e.index] = err
	}
}

// refusedCode reports whether a message's own content is at fault.
func refusedCode(code string) bool {
	code = code[strings.LastIndexAny(code, ".#")+1:]
	switch code {
	case "InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue":
		return true
	}
	return false
}

func (q *queue) call(ctx context.Context, in queueInput, creds sdkaws.Credentials) (*queueOutput, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(in); err != nil {
		return nil, fmt.Errorf("encoding a batch: %w", err)
	}
	sum := sha256.Sum256(body.Bytes())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.cfg.Endpoint, &body)
	if err != nil {
		return nil, errors.New("the URL does not make a request")
	}
	if q.cfg.Endpoint == q.cfg.URL {
		req.URL.Path, req.URL.RawPath, req.URL.RawQuery = "/", "", "" // the protocol's only path
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS.SendMessageBatch")
	if creds.AccessKeyID != "" {
		if err := q.sigv4.SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "sqs", q.cfg.Region, q.now()); err != nil {
			return nil, fmt.Errorf("signing a request: %w", err)
		}
	}
	answer, err := notify.Do(ctx, q.client, req)
	if err != nil {
		var status *notify.StatusError
		if errors.As(err, &status) {
			var e struct {
				Type string `json:"__type"`
			}
			if json.Unmarshal(answer, &e) == nil && len(e.Type) < 100 {
				status.Code = e.Type[strings.LastIndexByte(e.Type, '#')+1:]
			}
		}
		return nil, err
	}
	var out queueOutput
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, fmt.Errorf("the queue's answer is not JSON: %w", err)
	}
	return &out, nil
}

func (q *queue) close() error {
	q.client.CloseIdleConnections()
	return nil
}
