"""What: hand-written shop texts and phrasings that appear only in the held-out set.

Why: a score on texts from the training generator would flatter the model; these were written before training and never shown to it.
Invariant: never import this from the trainer or the corpus.
"""

TEXTS = [
    "Returns are free within 30 days of delivery. The item must be unused.",
    "We deliver to every address in Austria, Germany and Switzerland. Standard delivery costs € 4.90 and takes 2 to 4 working days.",
    "Delivery is free for orders above € 49.",
    "Our lamps carry a two-year warranty that covers the wiring and the switch, but not the bulb.",
    "The Aurora desk lamp needs an E27 bulb with at most 11 W; the bulb is not included.",
    "Visit us at Hauptstraße 12, 1050 Wien. We are open Monday to Friday from 9:30 to 18:00 and Saturday from 10:00 to 14:00.",
    "You can pay with Visa, Mastercard, PayPal or on account. We never store the full card number.",
    "A bicycle check-up costs € 39 and takes about two hours; we will call you before we replace any part that costs more than € 20.",
    "Gift cards are sold from € 10 to € 250 and stay valid for five years.",
    "Unsere Werkstatt ist täglich außer sonntags geöffnet; bitte vereinbaren Sie vorher telefonisch einen Termin.",
    "Für Überlängen über 2 m berechnen wir einen Zuschlag von 12,50 €.",
    "Les retours sont gratuits pendant trente jours, à condition que l'article n'ait pas été utilisé.",
    "El plazo de devolución es de 14 días naturales y el reembolso se hace en la misma tarjeta.",
    "Il ritiro in negozio è gratuito: ti avvisiamo appena il pacco è pronto.",
    "Zwroty przyjmujemy w ciągu 14 dni, jeśli produkt nie był używany.",
    "The large walnut table (240 x 100 cm, 68 kg) is delivered by two people to the room of your choice. They also take the packaging away with them.",
    "Opened cosmetics, earrings and personalised goods cannot be sent back for reasons of hygiene.",
    "Members of our club collect 1 point per euro; 100 points are worth € 5 at the next purchase.",
    "Please write to help@lumen-shop.example or call +43 1 555 0199 on weekdays.",
    "Use code WELCOME10 for 10 % off your first order. It can't be combined with other offers.",
    "The kettle switches itself off after boiling. Descale it once a month with vinegar; rinse twice.",
    "Cancellation is possible until we hand the parcel to the carrier, usually at 15:00 on the day of the order.",
    "Children under 6 travel free. A family ticket costs $18.50 and is valid for two adults and up to three children.",
    "Wool pullovers: wash by hand at 30 °C, dry flat, do not tumble-dry.",
    "We do not ship to post boxes.",
    "Refunds reach your account 5 to 7 bank days after the parcel has arrived at our warehouse. If you paid by voucher, we send you a new voucher by e-mail.",
    "The studio seats 24 people. Yoga on Mondays at 7:15, pilates on Thursdays at 19:45 – please bring your own mat.",
    "Battery: 5,000 mAh; charging time: 1.5 h; splash-proof (IPX4).",
    "Every frame is welded by hand in Graz, painted in one of 14 colours and tested for 100,000 load cycles before it leaves the workshop. That is why we give ten years on the frame, two on moving parts, and one free service after the first 500 km or three months.",
    "If something arrives broken, please take a photo of the box and of the damage, write to us within 48 hours and keep everything until our carrier has collected it. You decide whether we send a replacement at once, repair the piece in our own workshop, or pay back the full price including the shipping costs you paid.",
    "Breakfast is served from 7 to 10:30 and costs € 14.50 per person; children up to twelve pay half, toddlers eat for free. We bake our own gluten-free bread, and there is oat, soy and almond milk on the counter. Tell us about allergies the evening before, and the kitchen will prepare something for you.",
    "Klavierstimmungen kosten 95 € in Wien und 120 € in Niederösterreich, Anfahrt inbegriffen. Bei sehr alten Instrumenten, die länger als fünf Jahre nicht gestimmt wurden, ist oft ein zweiter Termin nötig; darüber sprechen wir mit Ihnen, bevor wir anfangen, und der zweite Besuch kostet dann nur noch die Hälfte.",
    "Custom curtains are sewn within 12 working days. Measure the rail, not the window, and add nothing for the hem, because our sewing room does that for you. A fabric sample costs £1 each (up to five per household) and the amount is taken off your order when you buy. Curtains cut to size cannot be exchanged.",
]

STATUS_EXTRA = ["arriving tomorrow", "picked", "in the post", "with our courier", "needs payment", "label created", "split into two parcels", "SHIPPED", "Zugestellt", "préparé"]
ITEMS = ["Desk lamp", "Walnut side table", "Espresso cups, set of 4", "Bike light", "Rain coat XL", "Teddy bear", "USB cable 2 m", "Fußmatte"]

UNSEEN = {
    "order_call": ["Any idea what became of order {n}?", "hi, still nothing from you guys about {n}", "Could someone please find out how far along order {n} is?", "I'm curious about the progress of order {n}.",
                   "My package should have been here on Friday! Order {n}!", "order {n} pls", "Is there an update on my purchase {n}?", "Will order {n} get here before the weekend?", "I'd love to know when order {n} gets delivered.",
                   "It has been three weeks now, what is going on with order {n}?", "Where's #{n}?", "Please give me details of order no {n}.", "when is {n} supposed to come", "I placed order {n} last Monday and heard nothing since.",
                   "Did order {n} leave your warehouse already?", "Kindly let me know the delivery date of order {n}"],
    "return_call": ["I'd rather not keep order {n}, can you take it back?", "The shoes from order {n} pinch, I want to give them back.", "order {n} arrived broken, please arrange a return", "How about you start the return for order {n} now?",
                    "I am unhappy with order {n} and want to return it.", "Please register a return: order {n}.", "I have to send order {n} back, it was damaged.", "return of order {n}, wrong size", "Kindly initiate a return for order {n}.",
                    "Order {n} is not what I expected. Start a return, please.", "We want to return everything in order {n}.", "Let's return {n}."],
    "ask_number": ["Why is my order so late?", "Could you please find my order?", "I still have not got my order!", "Is my order coming today?", "Do you know where my package is?", "hey what's up with my order", "My order seems to be lost.", "Please check on my order for me."],
    "customer_request": ["Is anybody there? I want a human being.", "Could you put me through to one of your colleagues?", "I'd prefer to deal with a real human.", "Stop this, get me a person!", "let me speak with support staff", "Can a member of the team contact me?",
                         "I'd like a human to answer this.", "Put me in touch with an employee, please.", "operator", "May I have a word with the manager?"],
    "question": ["Are gift cards something you sell?", "Could somebody fix my bike?", "At what time do you close today?", "What happens if my vase arrives in pieces?", "Do I have to pay for sending things back?", "Would this bulb fit the Aurora?", "How heavy is the walnut table?",
                 "Do you take American Express?", "I live in Salzburg, can you deliver here?", "How can I become a member of the club?", "Are your cookies vegan?", "May I collect my parcel myself?", "How often should I descale the kettle?", "Is there a student price?",
                 "Who makes your frames?", "I lost my password, what now?", "what's the deadline for sending stuff back", "Could I pay in two parts?", "My daughter is 7, does she need a ticket?", "Bekomme ich eine Rechnung?", "How many points do I get for 50 euro?",
                 "Do the curtains come with hooks?", "Tell me something about pilates.", "Which bread is gluten-free?"],
    "chit_chat": [("Hiya!", 0), ("good afternoon", 0), ("Hello, nice to meet you", 0), ("Thanks so much for your help!", 1), ("cool, thank you", 1), ("That was helpful, thanks a bunch", 1), ("what exactly are you?", 2),
                  ("Are you a machine?", 2), ("who is answering here?", 2), ("Bye for now!", 3), ("ok goodbye then", 3), ("Have a good weekend, bye", 3)],
}
