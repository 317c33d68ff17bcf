package athena

import (
	"strings"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/record"
)

// principal is Athena when it calls other services for a caller.
const principal = "athena.amazonaws.com"

// dataEvents are the calls on objects that a query makes, by the action that
// they need. All others are management events.
var dataEvents = map[string]string{"s3:GetObject": "GetObject", "s3:PutObject": "PutObject", "s3:ListBucket": "ListObjects"}

// recordDenied records what a running query was denied: a call of Glue's or
// S3's that Athena made for the caller (CloudTrail user guide, "invokedBy").
// The answer is nil when that is durable or nothing wants the record.
func (s *Service) recordDenied(e *execution, p *call.Permission, denied error) error {
	if s.cfg.Path == nil {
		return nil
	}
	caller := *e.call.Caller
	caller.InvokedBy = principal
	c := &call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: e.Region, AccountID: e.Account, Caller: &caller,
		Start: s.cfg.Now(), SourceIP: principal, UserAgent: principal, ViaService: principal}
	err := s.cfg.Path.Reject(c, denied, func(r *record.Record) { describeDenied(p, e.Account, r) })
	if err == denied {
		return nil
	}
	return err
}

func describeDenied(p *call.Permission, account string, r *record.Record) {
	service, name, _ := strings.Cut(p.Action, ":")
	r.EventSource, r.EventName, r.Category = service+".amazonaws.com", name, record.Management
	r.ReadOnly = strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List")
	if event, ok := dataEvents[p.Action]; ok {
		r.EventName, r.Category = event, record.Data
	}
	arn, err := aws.ParseARN(p.Resource)
	if err != nil {
		return
	}
	switch service {
	case "s3":
		bucket, key, object := strings.Cut(arn.Resource, "/")
		b := appendMember([]byte("{"), "bucketName", bucket)
		if object {
			b = appendMember(append(b, ','), "key", key)
			r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Object", ARN: p.Resource, AccountID: p.ResourceAccount})
		} else if r.Category == record.Data { // a listing
			prefix := ""
			if v := p.Context["s3:prefix"]; len(v) > 0 {
				prefix = v[0]
				b = appendMember(append(b, ','), "prefix", prefix)
			}
			r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Object", ARN: p.Resource + "/" + prefix, AccountID: p.ResourceAccount})
		}
		r.RequestParameters = append(b, '}')
		r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Bucket", ARN: "arn:" + aws.Partition + ":s3:::" + bucket, AccountID: p.ResourceAccount})
	case "glue":
		b := appendMember([]byte("{"), "catalogId", account)
		parts := strings.Split(arn.Resource, "/")
		if len(parts) > 1 {
			b = appendMember(append(b, ','), "databaseName", parts[1])
		}
		if len(parts) > 2 {
			b = appendMember(append(b, ','), "name", parts[2])
		}
		r.RequestParameters = append(b, '}')
	}
}

func appendMember(b []byte, name, value string) []byte {
	b = append(record.AppendString(b, name), ':')
	return record.AppendString(b, value)
}
