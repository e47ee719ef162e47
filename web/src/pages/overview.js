/* The host as a whole, in one file to load: its memory, what happens on it, and its checks. */
export { activityPage } from './activity.js';
export { hostPage } from './host.js';
export { memoryPage } from './memory.js';
