package mqtt

// Method is a method of enhanced authentication (section 4.12).
type Method interface{ Name() string }
