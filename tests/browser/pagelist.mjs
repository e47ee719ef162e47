// Every page of the dashboard, for the tests that look at all of them.
import { name } from './shared.mjs';

/*
 * [address, heading]; rows: what one thing of its list is; list: the list's path in the API, repeated
 * until there are many; find: the label of the box that finds among them.
 */
export const PAGES = [
    { address: '', heading: 'Machines', rows: '.vm', list: '/v1/vms', find: 'Filter machines' },
    { address: 'new', heading: 'New machine' },
    { address: 'consoles', heading: 'Consoles' },
    { address: 'sets', heading: 'Sets', rows: '[data-set]', list: '/v1/sets', find: 'sets' },
    { address: 'pools', heading: 'Pools', rows: '[data-pool]', list: '/v1/pools', find: 'pools' },
    { address: 'leases', heading: 'Leases', rows: '[data-lease]', list: '/v1/leases', find: 'leases' },
    { address: 'images', heading: 'Images', rows: '[data-image]', list: '/v1/images', find: 'images' },
    {
        address: 'recordings',
        heading: 'Recordings',
        rows: '[data-recording]',
        list: '/v1/recordings',
        find: 'recordings',
    },
    { address: 'memory', heading: 'Memory' },
    {
        address: 'activity',
        heading: 'Activity',
        rows: '[data-seq]',
        list: '/v1/events',
        find: 'Search the event log',
    },
    { address: 'host', heading: 'Host' },
    { address: 'tokens', heading: 'Access', rows: '[data-token]', list: '/v1/tokens', find: 'tokens' },
    { address: 'projects', heading: 'Projects' },
    {
        address: 'webhooks',
        heading: 'Webhooks',
        rows: '[data-webhook]',
        list: '/v1/webhooks',
        find: 'webhooks',
    },
    {
        address: 'audit',
        heading: 'Audit log',
        rows: '[data-request]',
        list: '/v1/audit',
        find: 'entries that were read',
    },
    { address: `vms/${name}`, heading: name },
];
