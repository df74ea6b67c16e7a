"""The vocabularies of the town's comments: all things are plural nouns, so that they fit every pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Vocabulary:
    """Words of one taste, and sentence patterns with the slots {adj} {thing} {other} {place} {act}."""

    things: tuple[str, ...]
    adjectives: tuple[str, ...]
    places: tuple[str, ...]
    acts: tuple[str, ...]
    """In the infinitive without "to"."""
    patterns: tuple[str, ...]


def _list(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


VOCABULARIES: Final[dict[str, Vocabulary]] = {
    "fashion": Vocabulary(
        _list(
            "ankle boots, linen dresses, silk scarves, wide-leg trousers, pleated skirts, leather handbags, gold "
            "earrings, trench coats, knitted cardigans, satin blouses, platform heels, denim jackets, cashmere "
            "sweaters, tote bags, velvet blazers, pearl necklaces, suede loafers, wrap dresses, oversized "
            "hoodies, designer sneakers, floral prints, lipstick shades, sunglasses, tailored suits, statement "
            "rings, high-waisted jeans, bomber jackets, maxi skirts, ballet flats, wool coats, capsule wardrobes, "
            "runway looks, perfumes, nail colours, vintage brooches, crossbody bags"
        ),
        _list(
            "elegant, chic, flattering, timeless, bold, gorgeous, stylish, delicate, well-cut, glamorous, "
            "minimalist, retro, soft, trendy, sleek, romantic, sophisticated, playful, luxurious, sustainable"
        ),
        _list(
            "the spring collection, Milan fashion week, the boutique on Rose Street, the new lookbook, the "
            "designer's showroom, the Paris runway, my wardrobe, the department store, the pop-up atelier, the "
            "summer line, the vintage shop, the stylist's feed"
        ),
        _list(
            "style them with a belt, wear them to a wedding, match the colours, layer them in autumn, try the "
            "whole outfit on, dress up for the evening, mix textures, pin the hem, pick the right shade, combine "
            "them with heels, build an outfit around them, accessorise"
        ),
        (
            "these {adj} {thing} from {place} go so well with {other}",
            "the cut of the {thing} is {adj} and the fabric feels wonderful",
            "I would love to {act}, the {thing} look so {adj}",
            "saw {adj} {thing} at {place} and fell in love",
            "my outfit today: {thing}, {other} and a {adj} touch",
            "which {thing} suit {other} best? I want a {adj} look",
            "the designer showed {adj} {thing} next to {other} at {place}",
            "does anybody know how to {act}? mine are {adj} {thing}",
            "everybody at {place} was wearing {adj} {thing} this season",
            "swapped my {other} for {adj} {thing} and my whole style changed",
        ),
    ),
    "value": Vocabulary(
        _list(
            "discount codes, clearance racks, coupons, price drops, bulk packs, cashback offers, refurbished "
            "phones, loyalty points, two-for-one deals, outlet bargains, second-hand finds, store brands, free "
            "samples, flash sales, voucher bundles, price alerts, end-of-line items, gift cards, rebate forms, "
            "family packs, cheap subscriptions, budget laptops, thrift-shop finds, free-delivery weeks, student "
            "discounts, markdowns, trade-in offers, promo weekends, energy savers, multi-buy offers, no-name "
            "batteries, half-price toys, warehouse deals, price guarantees, reduced groceries, referral bonuses"
        ),
        _list(
            "cheap, half-price, affordable, thrifty, unbeatable, discounted, reasonable, low-cost, reduced, "
            "generous, budget-friendly, economical, worthwhile, sensible, no-frills, stackable, decent, honest, "
            "surprising, frugal"
        ),
        _list(
            "the outlet store, the discount supermarket, the clearance aisle, the flea market, the coupon app, "
            "the price comparison site, the warehouse club, the charity shop, the weekly leaflet, the factory "
            "sale, the second-hand platform, the Black Friday page"
        ),
        _list(
            "save a few euros, compare prices first, stack two coupons, wait for the sale, haggle a little, buy "
            "in bulk, get the money back, collect points, return it for free, cut the weekly bill, set a price "
            "alert, split the pack with neighbours"
        ),
        (
            "saved a lot with the {thing} at {place}, really {adj}",
            "the {thing} are {adj} this week, better than the {other}",
            "always {act} before paying full price for {other}",
            "are the {thing} from {place} still valid? the price looks {adj}",
            "got {adj} {thing} for less than ten euros at {place}",
            "if you {act} the {thing} cost almost nothing",
            "quality for the money: {thing} are {adj}, {other} are not",
            "never pay the full price, {place} has {adj} {thing}",
            "my tip to spend less: {act} and look for {thing}",
            "the price of the {other} dropped again, {adj} {thing} everywhere",
        ),
    ),
    "food": Vocabulary(
        _list(
            "sourdough loaves, ramen bowls, wood-fired pizzas, dumplings, roasted vegetables, cinnamon rolls, "
            "tacos, homemade noodles, chocolate tarts, mushroom risottos, grilled prawns, lentil curries, fresh "
            "herbs, cheese boards, lemon cakes, smoked ribs, oysters, pancakes, olive oils, pickled radishes, "
            "bean stews, croissants, tomato sauces, tasting menus, almond cookies, rice bowls, garden salads, "
            "espresso blends, natural wines, stuffed peppers, apple pies, fish soups, falafel wraps, chilli oils, "
            "cast-iron pans, truffles"
        ),
        _list(
            "delicious, crispy, spicy, creamy, tender, smoky, buttery, fragrant, hearty, juicy, sweet, savoury, "
            "tangy, fluffy, rich, comforting, zesty, perfectly seasoned, caramelised, mouth-watering"
        ),
        _list(
            "the bistro round the corner, the farmers' market, my grandmother's kitchen, the noodle bar, the new "
            "bakery, the harbour restaurant, the street-food festival, the cooking class, the chef's table, the "
            "wine cellar, the tapas bar, the trattoria"
        ),
        _list(
            "let the dough rest overnight, add a pinch of salt, simmer it slowly, toast the spices, roast the "
            "garlic, cook for friends, taste as you go, whisk the eggs, reduce the sauce, knead by hand, marinate "
            "it first, serve it warm"
        ),
        (
            "the {thing} at {place} were {adj}, best dinner in weeks",
            "cooked {adj} {thing} with {other} tonight",
            "the trick is to {act}, then the {thing} turn out {adj}",
            "has anybody the recipe for the {thing} from {place}?",
            "{thing} and {other}, such a {adj} combination",
            "ate {adj} {thing} at {place} and went back for the {other}",
            "I always {act} when I make {thing}, so {adj}",
            "the chef served {adj} {thing} after the {other}",
            "hungry already, dreaming of {adj} {thing} from {place}",
            "tried to {act} for the first time, the {thing} tasted {adj}",
        ),
    ),
    "travel": Vocabulary(
        _list(
            "night trains, mountain huts, beach bungalows, city passes, hiking trails, ferry crossings, boutique "
            "hotels, window seats, old harbours, desert camps, national parks, hostel dorms, airport lounges, "
            "road trips, island hops, rail passes, guided walks, backpacks, hot springs, coastal paths, long-haul "
            "flights, camper vans, temple tours, rooftop views, fjord cruises, border crossings, safari lodges, "
            "travel visas, cycling routes, old-town alleys, glacier walks, snorkelling reefs, carry-on bags, "
            "sunrise treks, guesthouses, scenic railways"
        ),
        _list(
            "breathtaking, remote, sunny, unforgettable, scenic, quiet, adventurous, wild, charming, far-away, "
            "panoramic, snowy, exotic, peaceful, stunning, hidden, windy, historic, tropical, laid-back"
        ),
        _list(
            "Lisbon, the Dolomites, Kyoto, Patagonia, the Greek islands, Marrakesh, the Scottish Highlands, "
            "Vietnam, the Baltic coast, Iceland, the Atacama, Istanbul"
        ),
        _list(
            "book early, pack light, take the slow train, walk the old town, stay another week, watch the sunset, "
            "cross the border on foot, rent a camper, get up for the sunrise, follow the coast, learn a few "
            "words, leave the beaten track"
        ),
        (
            "the {thing} in {place} were {adj}, I want to go back",
            "planning a trip to {place}: {thing} or {other}?",
            "you should {act} when you visit {place}, the {thing} are {adj}",
            "three days of {adj} {thing} around {place}",
            "just landed in {place}, {adj} {thing} waiting for us",
            "any tips for {thing} near {place}? we like it {adj}",
            "after the {other} we tried the {thing}, truly {adj}",
            "next holiday I will {act} and look for {adj} {thing}",
            "flew to {place} only for the {thing}, so {adj}",
            "our itinerary: {place}, then {adj} {thing} and {other}",
        ),
    ),
    "politics": Vocabulary(
        _list(
            "coalition talks, budget debates, election polls, climate bills, tax reforms, trade agreements, party "
            "leaders, court rulings, housing laws, pension plans, border policies, council meetings, committee "
            "hearings, sanctions, campaign promises, minority governments, ballot measures, foreign ministers, "
            "peace negotiations, voting rights, labour laws, press conferences, constitutional amendments, public "
            "subsidies, immigration rules, opposition motions, lobby groups, budget cuts, ministers' speeches, "
            "referendum results, energy policies, healthcare reforms, swing voters, parliamentary inquiries, "
            "treaties, mayors' proposals"
        ),
        _list(
            "controversial, overdue, divisive, transparent, unconstitutional, reckless, historic, partisan, "
            "bipartisan, contested, progressive, conservative, liberal, unpopular, far-reaching, fair, cynical, "
            "pragmatic, democratic, stalled"
        ),
        _list(
            "parliament, the senate, the city council, Brussels, the supreme court, the ministry of finance, the "
            "campaign trail, the United Nations, the cabinet, the opposition bench, the town hall, the election "
            "debate"
        ),
        _list(
            "vote on Sunday, hold the government to account, write to the deputy, read the bill first, raise "
            "taxes, defend democracy, form a coalition, protest peacefully, count the votes again, pass the law, "
            "veto the budget, debate it in public"
        ),
        (
            "the {thing} in {place} are {adj}, the government must explain",
            "after the {other} the {thing} look even more {adj}",
            "voters want to know whether {place} will {act}",
            "I do not trust these {adj} {thing}, {place} should {act}",
            "the minister defended the {thing} at {place}, a {adj} speech",
            "will the {thing} survive {place}? the majority calls them {adj}",
            "citizens should {act} before the {thing} become law",
            "the {other} distract from the {adj} {thing}",
            "read the report on the {thing} from {place}, quite {adj}",
            "without {adj} {thing} no party can {act}",
        ),
    ),
    "sport": Vocabulary(
        _list(
            "penalty shoot-outs, interval runs, marathon times, free kicks, tie-breaks, sprint finishes, home "
            "games, cup finals, training plans, goalkeepers, away wins, three-pointers, mountain stages, relay "
            "teams, season tickets, transfer rumours, backhands, personal bests, strength sessions, hat-tricks, "
            "playoffs, injury breaks, coaches, racing bikes, swim meets, kettlebells, derby matches, referees, "
            "defenders, half-marathons, push-ups, medal chances, heart-rate zones, league tables, warm-ups, "
            "line-ups"
        ),
        _list(
            "fast, brilliant, unbeaten, exhausting, athletic, tense, powerful, clinical, tough, record-breaking, "
            "world-class, offensive, defensive, sweaty, fearless, competitive, unstoppable, disciplined, "
            "thrilling, fit"
        ),
        _list(
            "the stadium, the final, the training ground, the second half, the Olympic pool, the championship, "
            "the track, the away stand, the gym, centre court, the mountain stage, the league match"
        ),
        _list(
            "score in extra time, run ten kilometres, train twice a day, press high, beat the record, win the "
            "title, stretch before the race, change the line-up, defend the lead, finish on the podium, serve "
            "better, keep a clean sheet"
        ),
        (
            "the {thing} at {place} were {adj}, what a match",
            "our team needs {adj} {thing} to {act}",
            "did you see the {thing} in {place}? absolutely {adj}",
            "this morning: {thing}, then {other}, legs feel {adj}",
            "if they {act} on Saturday the {thing} will be {adj}",
            "the coach talked about {thing} and {other} after {place}",
            "{adj} {thing} decided the game in {place}",
            "new goal for the season: {act} and better {thing}",
            "the fans sang through the {thing}, {place} was {adj}",
            "without {adj} {thing} you cannot {act}",
        ),
    ),
}

OPENERS: Final = (
    *("", "", "", "honestly, ", "well, ", "wow, ", "ok so ", "finally: ", "hm, ", "by the way, ", "to be fair, "),
    *("update: ", "hi all, ", "question: ", "just saying, ", "yesterday again: ", "good morning, ", "as I said, "),
    *("seriously, ", "in my opinion ", "oh, ", "for once, ", "not sure, but ", "true story: "),
)
CLOSERS: Final = (
    *("", "", "", ".", "!", "...", ", don't you think?", ", what do you say?", ". thanks for sharing!", " :)"),
    *(". my sister agrees.", ", as always.", ". more tomorrow.", ", at least for me.", "!!", ". who is with me?"),
    *(", no doubt about it.", ". cannot wait for next week.", ", and I mean it.", ". just my two cents.", " again."),
    *(". somebody had to say it.", ", believe me.", ". see you there."),
)

SMALL_TALK: Final = (
    "good morning {who}, how was {when}",
    "thank you {who}, that helped a lot {when}",
    "I agree with {who} about {when}",
    "{who}, can you send me the link {when}",
    "what weather {when}, {who} got soaked",
    "happy birthday to {who}, have a nice day {when}",
    "my phone broke {when}, {who} knows the story",
    "so tired after {when}, greetings to {who}",
    "{who} made me laugh {when}",
    "sorry {who}, I was offline {when}",
    "does the search work for {who}? it did not load {when}",
    "congratulations {who}, we heard about it {when}",
    "the neighbours were loud {when}, right {who}",
    "I signed up {when}, hello {who}",
    "the bus was late {when}, {who} waited too",
    "we missed you {when}, {who}",
)
WHO: Final = (
    *("everyone", "folks", "my friend", "dear neighbours", "Ada", "Bruno", "Chen", "Dina", "Emil", "Fara", "Hugo"),
    *("Ines", "Kai", "Lina", "Mira", "Noor", "Omar", "Paula", "Sami", "Theo", "Uma", "Vera", "my brother", "my boss"),
    *("the moderator", "the whole team", "grandma", "the kids", "our teacher", "the new colleague"),
)
WHEN: Final = (
    *("yesterday", "last night", "this morning", "on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday"),
    *("at the weekend", "last week", "this afternoon", "at lunchtime", "around noon", "in the evening", "last month"),
    *("during the break", "before the holidays", "after work", "at school", "today", "all day long", "on the way home"),
    *("two days ago", "a while ago"),
)
