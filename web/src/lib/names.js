/* A name for a machine that nobody named. */
const MOODS = [
    'brisk',
    'calm',
    'dapper',
    'fleet',
    'mellow',
    'nimble',
    'plucky',
    'quiet',
    'sturdy',
    'wry',
];
const BREEDS = [
    'cheviot',
    'corriedale',
    'dorset',
    'hebridean',
    'icelandic',
    'jacob',
    'merino',
    'romney',
    'suffolk',
    'texel',
];

/* taken(name): whether it is somebody's; '' when luck runs out. */
export function suggestName(taken) {
    for (let tries = 0; tries < 50; tries += 1) {
        const pick = (words) => words[Math.floor(Math.random() * words.length)];
        const name = `${pick(MOODS)}-${pick(BREEDS)}`;
        if (!taken(name)) {
            return name;
        }
    }
    return '';
}
