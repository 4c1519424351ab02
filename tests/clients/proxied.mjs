// Clients of Node that may follow http_proxy: `node proxied.mjs CLIENT`. Each asks one
// service, and fails where it does not reach it; with TOLD=1 one is told to follow it.
// Those of npm are in NODE_MODULES.
import http from 'node:http';
import { createRequire } from 'node:module';

const npm = (name) => createRequire(`${process.env.NODE_MODULES}/`)(name);
const once = (what, event) => new Promise((resolve, reject) => what.once(event, resolve).once('error', reject));

const clients = {
  fetch: () => fetch('http://hello'),
  http: () => once(http.get('http://hello'), 'response').then((answer) => answer.resume()),
  axios: () => npm('axios').get('http://hello'),
  async got() {
    const { default: got } = await import(`${process.env.NODE_MODULES}/node_modules/got/dist/source/index.js`);
    await got('http://hello', { retry: { limit: 0 } });
  },
  async undici() {
    const { request, EnvHttpProxyAgent, setGlobalDispatcher } = npm('undici');
    if (process.env.TOLD) setGlobalDispatcher(new EnvHttpProxyAgent());
    await request('http://hello').then((answer) => answer.body.text());
  },
  async ws() {
    const socket = new (npm('ws'))('ws://ws/');
    await once(socket, 'open');
    socket.close();
  },
  async grpc() {
    const grpc = npm('@grpc/grpc-js');
    const channel = new grpc.Client('grpc:80', grpc.credentials.createInsecure());
    const same = (bytes) => bytes;
    await new Promise((resolve, reject) => {
      const deadline = Date.now() + 20_000;
      channel.makeUnaryRequest('/test.Echo/Unary', same, same, Buffer.from('x'), { deadline }, (error) => (error ? reject(error) : resolve()));
    });
    channel.close();
  },
};

await clients[process.argv[2]]();
