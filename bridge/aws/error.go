package aws

import "strings"

// The namespaces of JSON error types that no model names.
const CoralNamespace = "com.amazon.coral.service#"

// Error is a refusal in the terms of the services.
type Error struct {
	Status  int    // of HTTP, as the Query protocol has it
	Code    string // of the Query protocol
	Shape   string // __type of the JSON protocol, with its namespace; "" makes it from Code
	Message string
	// QueryMessage is the text of the Query protocol where it differs.
	QueryMessage string
	Receiver     bool // the fault is ours
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Refuse makes an error of a shape that no model names: the JSON type is the
// coral one.
func Refuse(status int, code, shape, message string) *Error {
	return &Error{Status: status, Code: code, Shape: CoralNamespace + shape, Message: message}
}

// Fault is the query protocol's word for whose fault it is.
func (e *Error) Fault() string {
	if e.Receiver {
		return "Receiver"
	}
	return "Sender"
}

// AppendXML appends the response of the Query protocol; detail is what follows
// the message, which is SQS's empty element or nothing.
func (e *Error) AppendXML(dst []byte, xmlns, requestID, detail string) []byte {
	message := e.Message
	if e.QueryMessage != "" {
		message = e.QueryMessage
	}
	dst = append(dst, `<?xml version="1.0"?><ErrorResponse xmlns="`...)
	dst = append(append(dst, xmlns...), `"><Error><Type>`...)
	dst = append(append(dst, e.Fault()...), `</Type><Code>`...)
	dst = append(AppendXMLText(dst, e.Code), `</Code><Message>`...)
	dst = append(append(AppendXMLText(dst, message), `</Message>`...), detail...)
	dst = append(dst, `</Error><RequestId>`...)
	return append(append(dst, requestID...), `</RequestId></ErrorResponse>`...)
}

// AppendJSON appends the response of AWS JSON.
func (e *Error) AppendJSON(dst []byte) []byte {
	shape := e.Shape
	if shape == "" {
		shape = CoralNamespace + e.Code
	}
	dst = append(dst, `{"__type":`...)
	dst = AppendJSONString(dst, shape)
	dst = append(dst, `,"message":`...)
	return append(AppendJSONString(dst, e.Message), '}')
}

// AppendQueryJSON appends the response of the Query protocol to a client that
// asked for JSON.
func (e *Error) AppendQueryJSON(dst []byte, requestID string) []byte {
	dst = append(dst, `{"Error":{"Code":`...)
	dst = AppendJSONString(dst, e.Code)
	dst = append(dst, `,"Message":`...)
	dst = AppendJSONString(dst, e.Message)
	dst = append(dst, `,"Type":"`...)
	dst = append(append(dst, e.Fault()...), `"},"RequestId":`...)
	return append(AppendJSONString(dst, requestID), '}')
}

// ShapeName is the JSON type without its namespace.
func (e *Error) ShapeName() string {
	if _, name, ok := strings.Cut(e.Shape, "#"); ok {
		return name
	}
	return e.Code
}

// The refusals that all services share.
var (
	ErrMissingToken = &Error{Status: 403, Code: "MissingAuthenticationToken", Shape: CoralNamespace + "MissingAuthenticationTokenException",
		Message: "Missing Authentication Token", QueryMessage: "Request is missing Authentication Token"}
	ErrUnknownKey = &Error{Status: 403, Code: "InvalidClientTokenId", Shape: CoralNamespace + "UnrecognizedClientException",
		Message: "The security token included in the request is invalid."}
	ErrSignature = &Error{Status: 403, Code: "SignatureDoesNotMatch", Shape: CoralNamespace + "InvalidSignatureException",
		Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	ErrBothSignatures = &Error{Status: 400, Code: "InvalidSignatureException", Shape: CoralNamespace + "InvalidSignatureException",
		Message: "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."}
	ErrExpiredToken = &Error{Status: 403, Code: "ExpiredToken", Shape: CoralNamespace + "ExpiredTokenException",
		Message: "The security token included in the request is expired"}
	ErrInternal = &Error{Status: 500, Code: "InternalFailure", Shape: CoralNamespace + "InternalFailure",
		Message: "We encountered an internal error. Please try again.", Receiver: true}
	ErrBusy = &Error{Status: 503, Code: "ServiceUnavailable", Shape: CoralNamespace + "ServiceUnavailableException",
		Message: "Service is currently unavailable", Receiver: true}
	ErrUnknownOperation = &Error{Status: 404, Code: "UnknownOperationException", Shape: CoralNamespace + "UnknownOperationException", Message: ""}
	ErrSerialization    = &Error{Status: 400, Code: "MalformedInput", Shape: CoralNamespace + "SerializationException", Message: "The request body is not valid."}
)

func incomplete(text string) *Error {
	return &Error{Status: 400, Code: "IncompleteSignature", Shape: CoralNamespace + "IncompleteSignatureException", Message: text}
}
