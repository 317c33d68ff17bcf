package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/policy"
)

func crc32Base64(b []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
}

const timestamp = "2006-01-02T15:04:05.000Z"

func (f *Front) listBuckets(s *step) error {
	c := s.c
	limit, err := atoi(s.target.query.Get("max-buckets"), 10_000, 10_000)
	if err != nil {
		return err
	}
	after, err := base64.StdEncoding.DecodeString(s.target.query.Get("continuation-token"))
	if err != nil {
		return failure(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
	}
	prefix := s.target.query.Get("prefix")
	var b strings.Builder
	b.WriteString("<Owner>")
	element(&b, "ID", canonicalID(c.AccountID))
	b.WriteString("</Owner><Buckets>")
	n, next := 0, ""
	for _, bucket := range f.Registry.list(c.AccountID) {
		if bucket.Name <= string(after) || !strings.HasPrefix(bucket.Name, prefix) {
			continue
		}
		if n == limit {
			next = base64.StdEncoding.EncodeToString([]byte(last(&b)))
			break
		}
		n++
		b.WriteString("<Bucket>")
		element(&b, "Name", bucket.Name)
		element(&b, "CreationDate", bucket.Created.UTC().Format(timestamp))
		element(&b, "BucketRegion", bucket.Region)
		b.WriteString("</Bucket>")
	}
	b.WriteString("</Buckets>")
	if prefix != "" {
		element(&b, "Prefix", prefix)
	}
	if next != "" {
		element(&b, "ContinuationToken", next)
	}
	return s.reply(http.StatusOK, "ListAllMyBucketsResult", b.String())
}

// last is the name of the last bucket written.
func last(b *strings.Builder) string {
	s := b.String()
	i := strings.LastIndex(s, "<Name>")
	if i < 0 {
		return ""
	}
	name, _, _ := strings.Cut(s[i+len("<Name>"):], "</Name>")
	return name
}

// canonicalID is an account's 64-digit canonical user id; S3 does not publish
// how it makes them, so the account id is what it starts with.
func canonicalID(account string) string {
	return account + strings.Repeat("0", 64-len(account))
}

type createConfiguration struct {
	XMLName            xml.Name `xml:"CreateBucketConfiguration"`
	LocationConstraint string
}

// createBucket makes the bucket in the storage and then in the registry. Crash
// story: between the two, the storage has a bucket that nobody owns; making it
// again finds it there and goes on.
func (f *Front) createBucket(s *step) error {
	c := s.c
	body, err := s.readBody()
	if err != nil {
		return err
	}
	region := c.Region
	if len(strings.TrimSpace(string(body))) > 0 {
		var conf createConfiguration
		if err := xml.Unmarshal(body, &conf); err != nil {
			return failure(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		}
		switch {
		case conf.LocationConstraint == "us-east-1":
			return failure(http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid")
		case conf.LocationConstraint == "EU":
			region = "eu-west-1"
		case conf.LocationConstraint != "" && !aws.IsRegion(conf.LocationConstraint) && conf.LocationConstraint != f.Region:
			// The bucket's region is that of its calls' records, and part of their
			// log files' names: one that is no region would keep them from delivery.
			return failure(http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid")
		case conf.LocationConstraint != "":
			if region != aws.GlobalRegion && region != conf.LocationConstraint {
				return failure(http.StatusBadRequest, "IllegalLocationConstraintException",
					"The "+conf.LocationConstraint+" location constraint is incompatible for the region specific endpoint this request was sent to.")
			}
			region = conf.LocationConstraint
		}
	} else if region != aws.GlobalRegion {
		return failure(http.StatusBadRequest, "IllegalLocationConstraintException",
			"The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	if !acceptedACL(s.req.Header.Get("X-Amz-Acl")) {
		return failure(http.StatusBadRequest, "InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	}
	switch o := s.req.Header.Get("X-Amz-Object-Ownership"); o {
	case "", ownerEnforced:
	case "BucketOwnerPreferred", "ObjectWriter":
		return notOffered()
	default:
		return failure(http.StatusBadRequest, "InvalidArgument", "Invalid x-amz-object-ownership header: "+o)
	}
	c.Tx.Lock(&f.Registry.writing)
	s.header = http.Header{"Location": {"/" + s.target.bucket}}
	if b, ok := f.Registry.Bucket(s.target.bucket); ok {
		switch {
		case b.Account != c.AccountID:
			return failure(http.StatusConflict, "BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.")
		case region == aws.GlobalRegion && b.Region == region:
			return s.done(http.StatusOK) // as us-east-1 does, for its oldest clients
		}
		return failure(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	}
	made := &Bucket{Name: s.target.bucket, Account: c.AccountID, Region: region, Created: f.Path.Now()}
	if err := s.makeBucket(s.req.Context(), made); err != nil {
		return err
	}
	// Since April 2023 a new bucket blocks public access (S3 user guide,
	// "Blocking public access to your Amazon S3 storage").
	made.PublicAccessBlock = &PublicAccessBlock{BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}
	if err := f.Registry.put(c, made); err != nil {
		return err
	}
	return s.done(http.StatusOK)
}

// makeBucket makes the bucket in the storage, with Object Lock, and with it
// versions, if the request asks for it.
func (s *step) makeBucket(ctx context.Context, b *Bucket) error {
	var lock http.Header
	if s.req.Header.Get("X-Amz-Bucket-Object-Lock-Enabled") == "true" {
		lock = http.Header{"X-Amz-Bucket-Object-Lock-Enabled": {"true"}}
	}
	status, err := s.plainRequest(ctx, http.MethodPut, lock)
	switch {
	case err != nil && status != http.StatusConflict:
		return err
	case err != nil:
		if err := s.found(ctx, b); err != nil {
			return err
		}
		if lock != nil && b.Lock == nil {
			return err // somebody else made it there: its objects are not locked
		}
	case lock != nil:
		b.Versioned, b.Lock = true, &Lock{}
		return s.front.Store.SyncVersions()
	}
	return nil
}

// deleteBucket removes the bucket from the storage and then from the registry.
// Crash story: between the two, the registry names a bucket that the storage
// lacks; deleting it again goes on.
func (f *Front) deleteBucket(s *step) error {
	c := s.c
	if _, err := f.Registry.change(c, s.target.bucket); err != nil {
		return err
	}
	if _, err := s.plainRequest(s.req.Context(), http.MethodDelete, nil); err != nil {
		var e *aws.Error
		if !errors.As(err, &e) || e.Code != "NoSuchBucket" {
			return err
		}
	}
	f.Registry.remove(c, s.target.bucket)
	return s.done(http.StatusNoContent)
}

func (f *Front) headBucket(s *step) error {
	s.header = http.Header{"X-Amz-Bucket-Region": {s.bucket.Region}, "X-Amz-Access-Point-Alias": {"false"}}
	return s.done(http.StatusOK)
}

func (f *Front) getLocation(s *step) error {
	region := s.bucket.Region
	if region == aws.GlobalRegion {
		region = ""
	}
	return s.reply(http.StatusOK, "LocationConstraint", region)
}

func (f *Front) getPolicy(s *step) error {
	if s.bucket.Policy == "" {
		return failure(http.StatusNotFound, "NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	s.header = http.Header{"Content-Type": {"application/json"}}
	s.status, s.out = http.StatusOK, []byte(s.bucket.Policy)
	return nil
}

// maxPolicy is the largest bucket policy (S3 user guide, 20 KB).
const maxPolicy = 20 << 10

func (f *Front) putPolicy(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	if len(body) > maxPolicy {
		return failure(http.StatusBadRequest, "PolicyTooLarge", "Policy exceeds the maximum allowed document size.")
	}
	p, err := policy.Parse(string(body), policy.Resource)
	if err != nil {
		text := err.Error()
		var syntax *policy.SyntaxError
		if errors.As(err, &syntax) {
			text = syntax.S3()
		}
		return &aws.Error{Op: "s3.PutBucketPolicy", Kind: aws.Invalid, Code: "MalformedPolicy", Message: text, Status: http.StatusBadRequest, Err: err}
	}
	if !p.OnlyService("s3") {
		return failure(http.StatusBadRequest, "MalformedPolicy", "Policy has invalid action")
	}
	if !p.OnlyResources(func(arn string) bool {
		return arn == bucketARN(s.target.bucket) || strings.HasPrefix(arn, bucketARN(s.target.bucket)+"/") || arn == bucketARN(s.target.bucket)+"*"
	}) {
		return failure(http.StatusBadRequest, "MalformedPolicy", "Policy has invalid resource")
	}
	c := s.c
	b, err := f.Registry.change(c, s.target.bucket)
	if err != nil {
		return err
	}
	if b.PublicAccessBlock != nil && b.PublicAccessBlock.BlockPublicPolicy && p.Public() {
		return failure(http.StatusForbidden, "AccessDenied", "User: "+c.Caller.ARN+" is not authorized to perform: s3:PutBucketPolicy on resource: \""+bucketARN(b.Name)+"\" because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.")
	}
	b.Policy = string(body)
	if err := f.Registry.put(c, b); err != nil {
		return err
	}
	return s.done(http.StatusNoContent)
}

func (f *Front) deletePolicy(s *step) error {
	c := s.c
	b, err := f.Registry.change(c, s.target.bucket)
	if err != nil {
		return err
	}
	b.Policy = ""
	if err := f.Registry.put(c, b); err != nil {
		return err
	}
	return s.done(http.StatusNoContent)
}

func (f *Front) getPolicyStatus(s *step) error {
	if s.bucket.Policy == "" {
		return failure(http.StatusNotFound, "NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	return s.reply(http.StatusOK, "PolicyStatus", "<IsPublic>"+strings.ToUpper(strconv.FormatBool(public(s.bucket.Policy)))+"</IsPublic>")
}

// getACL answers with what BucketOwnerEnforced means: the owner has full
// control, and nobody else anything.
func (f *Front) getACL(s *step) error {
	id := canonicalID(s.bucket.Account)
	return s.reply(http.StatusOK, "AccessControlPolicy", "<Owner><ID>"+id+"</ID></Owner><AccessControlList><Grant>"+
		`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>`+id+"</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>")
}

func (f *Front) putACL(s *step) error {
	acl := s.req.Header.Get("X-Amz-Acl")
	if acl == "" || !acceptedACL(acl) {
		return failure(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	return s.done(http.StatusOK)
}

func (f *Front) getRequestPayment(s *step) error {
	return s.reply(http.StatusOK, "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")
}

// constantXML answers with a configuration that every bucket here has.
func constantXML(root, content string) func(*Front, *step) error {
	return func(_ *Front, s *step) error { return s.reply(http.StatusOK, root, content) }
}

func notConfigured(code, message string) func(*Front, *step) error {
	return func(*Front, *step) error { return failure(http.StatusNotFound, code, message) }
}

type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Tags    []Tag    `xml:"TagSet>Tag"`
}

// maxTags is the number of tags that a bucket may have.
const maxTags = 50

func (f *Front) getTagging(s *step) error {
	if len(s.bucket.Tags) == 0 {
		return failure(http.StatusNotFound, "NoSuchTagSet", "The TagSet does not exist")
	}
	var b strings.Builder
	b.WriteString("<TagSet>")
	for _, t := range s.bucket.Tags {
		b.WriteString("<Tag>")
		element(&b, "Key", t.Key)
		element(&b, "Value", t.Value)
		b.WriteString("</Tag>")
	}
	b.WriteString("</TagSet>")
	return s.reply(http.StatusOK, "Tagging", b.String())
}

func (f *Front) putTagging(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var t tagging
	if err := xml.Unmarshal(body, &t); err != nil {
		return failure(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	if len(t.Tags) > maxTags {
		return failure(http.StatusBadRequest, "BadRequest", "Bucket tag count cannot be greater than 50")
	}
	seen := map[string]bool{}
	for _, tag := range t.Tags {
		if tag.Key == "" || len(tag.Key) > 128 || len(tag.Value) > 256 || seen[tag.Key] {
			return failure(http.StatusBadRequest, "InvalidTag", "The TagKey you have provided is invalid")
		}
		seen[tag.Key] = true
	}
	return f.setTags(s, t.Tags)
}

func (f *Front) deleteTagging(s *step) error { return f.setTags(s, nil) }

func (f *Front) setTags(s *step, tags []Tag) error {
	c := s.c
	b, err := f.Registry.change(c, s.target.bucket)
	if err != nil {
		return err
	}
	b.Tags = tags
	if err := f.Registry.put(c, b); err != nil {
		return err
	}
	return s.done(http.StatusNoContent)
}

func (f *Front) getPublicAccessBlock(s *step) error {
	p := s.bucket.PublicAccessBlock
	if p == nil {
		return failure(http.StatusNotFound, "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")
	}
	var b strings.Builder
	for _, e := range []struct {
		name string
		on   bool
	}{{"BlockPublicAcls", p.BlockPublicAcls}, {"IgnorePublicAcls", p.IgnorePublicAcls}, {"BlockPublicPolicy", p.BlockPublicPolicy}, {"RestrictPublicBuckets", p.RestrictPublicBuckets}} {
		element(&b, e.name, strconv.FormatBool(e.on))
	}
	return s.reply(http.StatusOK, "PublicAccessBlockConfiguration", b.String())
}

func (f *Front) putPublicAccessBlock(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var p struct {
		XMLName xml.Name `xml:"PublicAccessBlockConfiguration"`
		PublicAccessBlock
	}
	if err := xml.Unmarshal(body, &p); err != nil {
		return failure(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	return f.setPublicAccessBlock(s, &p.PublicAccessBlock, http.StatusOK)
}

func (f *Front) deletePublicAccessBlock(s *step) error {
	return f.setPublicAccessBlock(s, nil, http.StatusNoContent)
}

func (f *Front) setPublicAccessBlock(s *step, p *PublicAccessBlock, status int) error {
	c := s.c
	b, err := f.Registry.change(c, s.target.bucket)
	if err != nil {
		return err
	}
	b.PublicAccessBlock = p
	if err := f.Registry.put(c, b); err != nil {
		return err
	}
	return s.done(status)
}
