// A room server on Socket.IO, which keeps what a client that comes back has missed.   node socketio_server.js PORT
const { Server } = require("socket.io");
const http = require("http").createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
const KEPT = 10000;
const rooms = new Map();
io.on("connection", (socket) => {
  socket.on("join", (name, since) => {
    const kept = rooms.get(name) || [];
    socket.emit("joined", name);
    if (since !== null && since !== undefined) for (const event of kept) if (event.seq > since) socket.emit("ev", event);
    socket.join(name);
  });
  socket.on("pub", (name, d) => {
    if (!rooms.has(name)) rooms.set(name, []);
    const kept = rooms.get(name);
    const event = { seq: kept.length ? kept[kept.length - 1].seq + 1 : 1, d };
    kept.push(event);
    if (kept.length > KEPT) kept.shift();
    io.to(name).emit("ev", event);
  });
});
http.listen(+process.argv[2], "127.0.0.1", 4096);
