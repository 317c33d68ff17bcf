package athena

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/call"
	"spoor/internal/objects"
)

// results pages through the result's object. The header is a row of the first
// page where Athena has one.
func (s *Service) results(ctx context.Context, c *call.Call, in *sdk.GetQueryResultsInput) (*sdk.GetQueryResultsOutput, error) {
	e, err := s.execution(c, str(in.QueryExecutionId))
	if err != nil {
		return nil, err
	}
	if in.MaxResults != nil && *in.MaxResults > maxPage {
		return nil, invalid(invalidInput, "MaxResults is more than maximum allowed length %d", maxPage)
	}
	switch {
	case !e.finished():
		return nil, invalid("INVALID_QUERY_EXECUTION_STATE", "Query has not yet finished. Current state: %s", e.State)
	case e.State == cancelled:
		return nil, invalid("RESULT_NOT_FOUND", "Could not find results")
	case e.State == failed:
		return nil, invalid("INVALID_QUERY_EXECUTION_STATE", "Query did not finish successfully. Final query state: FAILED")
	}
	offset, err := decodePage(str(in.NextToken), e.ID)
	if err != nil {
		return nil, err
	}
	size := pageSize(in.MaxResults, maxPage)
	rows, next, err := s.page(ctx, e, offset, size)
	if errors.Is(err, errResult) && offset > 0 {
		return nil, invalid(invalidInput, "Malformed nextPageToken %s", str(in.NextToken))
	}
	if errors.Is(err, errResult) || errors.Is(err, objects.ErrNoSuchKey) || errors.Is(err, objects.ErrNoSuchBucket) {
		return nil, invalid("RESULT_NOT_FOUND", "Could not find results")
	}
	if err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	out := &sdk.GetQueryResultsOutput{ResultSet: &types.ResultSet{Rows: rows, ResultSetMetadata: &types.ResultSetMetadata{ColumnInfo: []types.ColumnInfo{}}}}
	for _, col := range e.Columns {
		out.ResultSet.ResultSetMetadata.ColumnInfo = append(out.ResultSet.ResultSetMetadata.ColumnInfo, col.info())
	}
	if len(rows) == size { // a full page always has a token, even before an empty one
		out.NextToken = new(encodePage(e.ID, next))
	}
	if e.Type == "DML" && e.Substatement == "SELECT" || strings.HasPrefix(e.Substatement, "SHOW_") {
		out.UpdateCount = new(int64(0))
	}
	return out, nil
}

// page reads up to size rows that begin at a byte of the result's object, and
// gives the byte after them.
func (s *Service) page(ctx context.Context, e *execution, offset int64, size int) (rows []types.Row, next int64, err error) {
	rows = []types.Row{}
	bucket, k, ok := splitLocation(e.ResultFile)
	if !ok || len(e.Columns) == 0 {
		return rows, 0, nil
	}
	body, err := s.openObject(ctx, bucket, k)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if err := skip(body, offset); err != nil {
		return nil, 0, err
	}
	p := &resultReader{r: bufio.NewReaderSize(body, 64<<10), at: offset, lines: !strings.HasSuffix(k, ".csv")}
	for len(rows) < size {
		cells, err := p.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		row := types.Row{Data: make([]types.Datum, len(cells))}
		for i, x := range cells {
			if !x.Null {
				row.Data[i].VarCharValue = new(x.Text)
			}
		}
		rows = append(rows, row)
	}
	return rows, p.at, nil
}

// skip moves to a byte: by seeking in a file, by reading otherwise.
func skip(r io.Reader, offset int64) error {
	if s, ok := r.(io.Seeker); ok {
		_, err := s.Seek(offset, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, r, offset)
	if errors.Is(err, io.EOF) {
		return nil // the page after the end is empty
	}
	return err
}

func encodePage(id string, offset int64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s/%d", id, offset))
}

func decodePage(token, id string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	var n int64
	raw, err := base64.RawURLEncoding.DecodeString(token)
	rest, ok := strings.CutPrefix(string(raw), id)
	if err == nil {
		_, err = fmt.Sscanf(rest, "/%d", &n)
	}
	if err != nil || !ok || n <= 0 {
		return 0, invalid(invalidInput, "Malformed nextPageToken %s", token)
	}
	return n, nil
}
