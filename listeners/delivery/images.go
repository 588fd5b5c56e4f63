package delivery

// Image marks, as its Offset, the delivery of a topic's image: no queue and no
// window knows of it.
const Image = -2
