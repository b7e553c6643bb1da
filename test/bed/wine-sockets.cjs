// Lets fetch connect under Wine before 9, which lacks the option that sets when a socket's keepalive begins.
const { Socket } = require('node:net');

Socket.prototype.setKeepAlive = function setKeepAlive() {
  return this;
};
