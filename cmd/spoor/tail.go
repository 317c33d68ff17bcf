package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/server"
)

// emptyHash is the SHA-256 of an empty body.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// maxRecordLine is above the largest record, 256 KiB.
const maxRecordLine = 1 << 20

type tailCmd struct {
	Data    string   `help:"Data directory of the server." default:"./data" env:"SPOOR_DATA" type:"path"`
	After   *uint64  `help:"Begin after this sequence number; 0 is the oldest record kept. Default: new records only."`
	Where   []string `help:"Only records that meet this condition: FIELD=VALUE, FIELD^=BEGIN, FIELD$=END, FIELD*=PART, or with ! before the operator. May be repeated; all must hold." placeholder:"FIELD=VALUE" sep:"none"`
	Account string   `help:"Account whose records are printed. Default: the server's own." placeholder:"ID"`
	JSON    bool     `help:"Print whole records with their sequence numbers."`
}

func (tailCmd) Help() string {
	return "Examples:\n" +
		"  spoor tail\n" +
		"  spoor tail --where eventSource=cassandra.amazonaws.com --where eventName!=Select\n" +
		"  spoor tail --where userIdentity.userName=alice --where errorCode!=\n" +
		"  spoor tail --after 0 --json | jq .event"
}

// Run prints records until the context or the stream ends.
func (t tailCmd) Run(ctx context.Context, std streams) error {
	creds, ends, err := server.ReadEnvironment(t.Data)
	if err != nil {
		return err
	}
	q := url.Values{"where": t.Where}
	if t.After != nil {
		q.Set("after", strconv.FormatUint(*t.After, 10))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ends.HTTP+"/_spoor/tail?"+strings.ReplaceAll(q.Encode(), "+", "%20"), nil)
	if err != nil {
		return err
	}
	p, err := profileOf(creds, ends, t.Account, "admin")
	if err != nil {
		return err
	}
	if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey}, req, emptyHash, "cloudtrail", ends.Region, time.Now()); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server at %s does not answer; is it running? %w", ends.HTTP, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return fmt.Errorf("the server refused: %s", refusal(res.Status, body))
	}
	err = t.follow(res.Body, std.out)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow prints a stream's records. It ends with an error: a stream has no end
// of its own, so who watches must know that it is over and where to go on.
func (t tailCmd) follow(stream io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxRecordLine)
	var last uint64
	for lines.Scan() {
		seq, err := t.print(out, lines.Bytes())
		if err != nil {
			return err
		}
		last = seq
	}
	where := "no record had come"
	if last > 0 {
		where = fmt.Sprintf("--after %d goes on", last)
	}
	return fmt.Errorf("the server ended the stream, because it stops or the permission is gone; %s: %w", where, cmp.Or(lines.Err(), io.EOF))
}

// refusal is the message of an AWS JSON error, or the whole answer when it is
// none.
func refusal(status string, body []byte) string {
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &e) == nil && e.Message != "" {
		return e.Message
	}
	return status + " " + string(body)
}

// print prints a record and gives its number, or that of a heartbeat.
func (t tailCmd) print(w io.Writer, line []byte) (uint64, error) {
	var rec struct {
		Seq   uint64
		Event map[string]any
	}
	if err := json.Unmarshal(line, &rec); err != nil {
		return 0, fmt.Errorf("the server sent something that is no record: %w", err)
	}
	if rec.Event == nil {
		return rec.Seq, nil // a heartbeat
	}
	if t.JSON {
		_, err := fmt.Fprintf(w, "%s\n", line)
		return rec.Seq, err
	}
	who := lookup(rec.Event, "userIdentity.arn")
	outcome := lookup(rec.Event, "errorCode")
	if outcome == "" {
		outcome = "ok"
	}
	_, err := fmt.Fprintf(w, "%-8d %s  %-28s %-24s %-12s %s\n", rec.Seq, lookup(rec.Event, "eventTime"),
		strings.TrimSuffix(lookup(rec.Event, "eventSource"), ".amazonaws.com")+":"+lookup(rec.Event, "eventName"), outcome, lookup(rec.Event, "sourceIPAddress"), who)
	return rec.Seq, err
}

// lookup finds a field by its dotted path and gives its text, "" when it is
// absent.
func lookup(v any, path string) string {
	for _, name := range strings.Split(path, ".") {
		obj, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = obj[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
