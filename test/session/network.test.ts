import t from 'tap'
import { addressOf, networkOf } from '../../lib/session/network.ts'

t.test('the network of an address', async (t) => {
  const networks: Array<[network: string, ...addresses: string[]]> = [
    ['1.2.3.4', '1.2.3.4', '::ffff:1.2.3.4', '::FFFF:102:304', '0:0:0:0:0:ffff:1.2.3.4', '64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['255.0.0.1', '255.0.0.1', '::ffff:ff00:1'],
    ['2001:db8:1:2::/64', '2001:db8:1:2::', '2001:0DB8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::1.2.3.4', '2001:db8:1:2:3::'],
    ['2001:db8:1:3::/64', '2001:db8:1:3::1'],
    ['fe80:0:0:0::/64', 'fe80::1%eth0', 'fe80::2'],
    ['0:0:0:0::/64', '::1', '::', '::1.2.3.4'],
    ['0:0:0:1::/64', '0:0:0:1::', '::1:0:0:0:0'],
    ['unknown', '', 'localhost', '1.2.3', '1.2.3.4, 5.6.7.8', '[::1]', 'x'.repeat(10_000)]
  ]
  for (const [network, ...addresses] of networks) for (const address of addresses) t.equal(networkOf(address), network, address.slice(0, 40))
  t.equal(networkOf(undefined), 'unknown')
})

t.test('an address is kept as it is, and what is none is not', async (t) => {
  for (const address of ['1.2.3.4', '::1', '2001:db8::1', '::ffff:255.255.255.255', 'fe80::1%eth0', '1111:2222:3333:4444:5555:6666:255.255.255.255%interface-name0']) t.equal(addressOf(address), address)
  for (const none of [undefined, null, '', 'unknown', 'x'.repeat(5_000), '1.2.3', '1.2.3.4, 5.6.7.8', '[::1]', '1.2.3.4:80', '<script>', `fe80::1%${'x'.repeat(5_000)}`]) t.equal(addressOf(none), null)
})
