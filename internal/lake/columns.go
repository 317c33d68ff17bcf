package lake

import (
	"bytes"
	"strings"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// memberNames are the JSON names of columns and fields that are not in lower
// case.
var memberNames = func() map[string]string {
	m := map[string]string{}
	for _, name := range strings.Fields(`eventVersion userIdentity principalId accountId accessKeyId userName sessionContext creationDate
		mfaAuthenticated sessionIssuer webIdFederationData federatedProvider sourceIdentity ec2RoleDelivery ec2IssuedInVpc assumedRoot invokedBy
		identityProvider credentialId onBehalfOf userId identityStoreArn inScopeOf sourceArn sourceAccount issuerType credentialsIssuedTo
		eventTime eventSource eventName awsRegion sourceIPAddress userAgent errorCode errorMessage requestParameters responseElements
		additionalEventData requestID eventID readOnly eventType apiVersion managementEvent recipientAccountId sharedEventID vpcEndpointId
		vpcEndpointAccountId serviceEventDetails updatedFields originalRequestID originalEventID edgeDeviceDetails insightDetails eventCategory
		tlsDetails tlsVersion cipherSuite clientProvidedHostHeader keyExchange sessionCredentialFromConsole
		eventContext requestContext tagContext resourceTags principalTags`) {
		m[strings.ToLower(name)] = name
	}
	return m
}()

func memberName(lower string, inResources bool) string {
	if inResources && lower == "arn" {
		return "ARN"
	}
	if inResources && lower == "arnprefix" {
		return "ARNPrefix"
	}
	if name, ok := memberNames[lower]; ok {
		return name
	}
	return lower
}

// shape is the structure that json_transform reads a type by.
func shape(t sql.Type, inResources bool) string {
	switch t.Name {
	case "row":
		var f []string
		for i, name := range t.Fields {
			f = append(f, `"`+memberName(name, inResources)+`":`+shape(t.Elems[i], inResources))
		}
		return "{" + strings.Join(f, ",") + "}"
	case "array":
		return "[" + shape(t.Elems[0], inResources) + "]"
	}
	return `"` + t.DuckDB() + `"`
}

// rawEvents is a relation of events as they were recorded.
const rawEvents = "recorded"

var rawColumns = []duckdb.Column{{Name: "e", Type: "VARCHAR"}}

// readColumns is a query that reads the columns of a store of CloudTrail events
// from a relation of plain events. The engine takes the JSON apart: that costs
// a fifth of what handing over each value does.
func readColumns(from string) string {
	var shapes, out []string
	for _, c := range columnsOf(&Store{}) {
		if c.Name == wholeEvent {
			continue
		}
		name := memberName(c.Name, false)
		shapes = append(shapes, `"`+name+`":`+shape(c.Type, c.Name == "resources"))
		out = append(out, `CAST(x."`+name+`" AS `+c.Type.DuckDB()+`) AS "`+c.Name+`"`)
	}
	return `SELECT ` + strings.Join(out, ", ") + `, e AS "` + wholeEvent + `" FROM (SELECT e, json_transform(e, '{` + strings.Join(shapes, ",") + `}') AS x FROM "` + from + `")`
}

// plain reports whether the engine reads an event exactly as serde.Event does.
// Where an object becomes text, the engine writes it anew: numbers with a
// fraction or many digits and characters that were escaped without need would
// come out otherwise, as would white space between tokens.
func plain(event []byte) bool {
	escapes := bytes.IndexByte(event, '\\') >= 0
	for rest := event; ; {
		i := bytes.IndexByte(rest, '"')
		if i < 0 {
			return plainTokens(rest)
		}
		if !plainTokens(rest[:i]) {
			return false
		}
		rest = rest[i+1:]
		n := 0
		if escapes {
			n = plainString(rest)
		} else {
			n = bytes.IndexByte(rest, '"') + 1
		}
		if n <= 0 {
			return false
		}
		rest = rest[n:]
	}
}

// plainString is the length of a string whose opening quote has been taken,
// with the closing one, or -1 when it is not plain.
func plainString(b []byte) int {
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		return -1
	}
	i := bytes.IndexByte(b[:end], '\\')
	if i < 0 {
		return end + 1
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i++; i == len(b) || bytes.IndexByte([]byte(`"\nrt`), b[i]) < 0 {
				return -1
			}
		}
	}
	return -1
}

// plainTokens is plain for what is between two strings.
func plainTokens(b []byte) bool {
	digits := 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 18 {
				return false
			}
		case c <= ' ' || c == '.' || digits > 0 && c|0x20 == 'e':
			return false
		default:
			digits = 0
		}
	}
	return true
}
